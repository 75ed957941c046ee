"""`inspect`: what a file or a run holds, without running it."""
