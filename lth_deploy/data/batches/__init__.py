"""Images and targets at training size."""
