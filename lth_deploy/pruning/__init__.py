"""Ticket search: criterion, scope, allocation, structure and restart are separate axes, one file each."""
