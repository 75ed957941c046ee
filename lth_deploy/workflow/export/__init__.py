"""`export`: from a run or any ONNX model to an artifact."""
