"""Pascal VOC folders turned into COCO files."""
