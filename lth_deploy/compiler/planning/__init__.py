"""Which layers run sparse: multiplications, costs, predicted times."""
