"""COCO annotation files, checked in full."""
