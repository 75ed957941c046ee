"""The reference implementation of region programs in numpy, and bounds of what kernels may differ from it."""
