"""From the boxes that a model proposes to detections."""
