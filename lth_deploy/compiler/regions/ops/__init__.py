"""The operators of regions, one file for each: which nodes it is made of, their shapes, and its instruction."""
