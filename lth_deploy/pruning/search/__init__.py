"""The trials of a search: their plan, masks and trainings."""
