"""Engines that run an ONNX file: load, run, describe. One file and one registration for each."""

from lth_deploy.runtimes import ncnn, onnxruntime, openvino
from lth_deploy.runtimes.protocol import FP32, RUNTIMES, Runtime, Session

__all__ = ["FP32", "RUNTIMES", "Runtime", "Session"]

RUNTIMES.add("onnxruntime", onnxruntime.OnnxRuntime("onnxruntime", library=False))
RUNTIMES.add("lth_deploy", onnxruntime.OnnxRuntime("lth_deploy", library=True))
RUNTIMES.add("openvino", openvino.OpenVino())
RUNTIMES.add("ncnn", ncnn.Ncnn())
