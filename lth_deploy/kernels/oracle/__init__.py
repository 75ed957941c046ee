"""The reference implementation of region programs in numpy, and what kernels may differ from it by."""
