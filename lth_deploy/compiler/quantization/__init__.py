"""Static INT8: calibration, ONNX Runtime's quantizer, ranges learned in training, errors of layers."""
