"""From the pixels of an image to the inputs of a model, and back."""
