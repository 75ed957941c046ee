"""Size, latency, memory and parity. Everything here takes arrays, paths or callables, never a runtime."""
