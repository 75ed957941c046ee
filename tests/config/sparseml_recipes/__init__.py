"""Recipes of SparseML."""
