"""Detectors of detectron2 on torchvision's modules."""
