"""The operators of region programs, one file for each, or for each with its quantized form; see `operators.py`."""
