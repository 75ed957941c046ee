"""Turning detectors into one compact ONNX file; torch is only in capture."""
