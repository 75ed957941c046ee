"""The arithmetic that the operators' oracles are built of: exact values, and bounds of what kernels may differ by."""
