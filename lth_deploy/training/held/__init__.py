"""Masks that hold in a training loop of the user's own, and masks that other tools have made."""
