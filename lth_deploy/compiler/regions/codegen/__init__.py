"""From the operators of a region to its program, node and function body."""
