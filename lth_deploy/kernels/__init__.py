"""The kernel library: region programs, their oracle, and the custom operators that run them."""
