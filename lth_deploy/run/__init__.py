"""The run directory, which `find-ticket` writes and everything else reads."""
