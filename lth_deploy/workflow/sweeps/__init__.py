"""The parts of the verb `sweep`: its rows, their order, the processes that run them, and what is recorded."""
