"""The packed file format: read, written and checked."""
