"""The verb `export --detectron2`."""
