"""`benchmark`: size, speed, memory and AP beside the dense baseline."""
