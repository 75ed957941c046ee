"""Digests and signatures of exports."""
