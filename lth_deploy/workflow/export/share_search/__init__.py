"""The largest share of zeros with which a model keeps its AP, found by bisection and remembered between runs."""
