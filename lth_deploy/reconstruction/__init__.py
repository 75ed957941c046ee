"""Layer-wise reconstruction: pruning a layer so that its output on sample inputs changes least. Arrays only."""
