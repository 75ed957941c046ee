"""Pruning ONNX models without training, and removing channels that pruning left dead."""
