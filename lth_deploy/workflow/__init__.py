"""The verbs: what the command line, benchmarks and users call. Only here do the packages see each other."""
