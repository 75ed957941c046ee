"""From weights and a level to a mask: scores, budgets, structures. Arrays only, except for `signals`."""
