"""Recipes of SparseML 1.8: read as inert data, translated into recipes of this package, and written again."""
