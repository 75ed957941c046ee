"""Average precision, and how sure a difference of two is."""
