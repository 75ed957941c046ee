"""One training of N steps: a loop with hooks, whose every step is a function of the state, the seed and the step."""
