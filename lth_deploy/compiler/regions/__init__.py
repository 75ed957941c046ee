"""Growing regions: connected runs of layers that one node of ours computes, and reading them back."""
