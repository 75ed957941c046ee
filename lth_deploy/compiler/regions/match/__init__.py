"""Which nodes, or groups of nodes, are operators of a region."""
