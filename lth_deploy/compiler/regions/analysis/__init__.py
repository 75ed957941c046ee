"""What is known of the tensors of a graph without running it."""
