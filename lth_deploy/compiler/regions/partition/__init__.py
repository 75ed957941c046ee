"""Which operators become a region together, and what the region returns."""
