"""`benchmark --host`: the rows of a benchmark, measured on boards."""
