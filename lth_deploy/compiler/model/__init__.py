"""ONNX plumbing that knows nothing of packing: graphs, sizes, runs in stock ONNX Runtime."""
