"""What a file says of its model: signature, classes, and the metadata of exporters."""
