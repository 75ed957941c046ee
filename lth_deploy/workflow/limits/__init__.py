"""Models from strangers run in child processes with limits of time and memory."""
