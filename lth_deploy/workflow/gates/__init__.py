"""Bounds that an exported file must meet before it is written."""
