"""One training on several devices: the processes that torchrun starts, called ranks, and what each of them does."""
