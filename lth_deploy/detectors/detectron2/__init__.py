"""Detectors of detectron2, read without it: its YAML configurations and checkpoints, on torchvision's modules."""
