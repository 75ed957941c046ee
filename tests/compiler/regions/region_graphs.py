"""Small graphs to grow regions in, and what every one of them must fulfill."""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.compiler.artifact.domain import position_input
from lth_deploy.compiler.artifact.extract_region import extract_regions
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.compiler.artifact.load import check_model
from lth_deploy.compiler.artifact.pack import pack
from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.regions.codegen.build import RegionPlan, build_regions, zeros_from
from lth_deploy.errors import MissingLibraryError
from lth_deploy.formats import FORMATS
from lth_deploy.kernels import ops_library
from lth_deploy.kernels.oracle.exactness import reads_quantized
from lth_deploy.kernels.oracle.reference import run_bounded
from lth_deploy.kernels.program.program import Program
from lth_deploy.structures import Block
from lth_deploy.workflow.gates.region_steps import SteppedRegion, Stock

Array = np.ndarray[Any, Any]


UNMERGED = ("DoubleQDQPairsRemover",)
"""The optimizer of ONNX Runtime that makes one pair of conversions of two: with a third scale, so in other bits."""


class Graph:
    """Collects nodes; layers get sparse random weights of their own unless a weight is named."""

    def __init__(self, opset: int = 18, seed: int = 0) -> None:
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, Array] = {}
        self.opset = opset
        self.rng = np.random.default_rng(seed)

    def weight(self, name: str, shape: tuple[int, ...], zeros: float = 0.85) -> str:
        values = (self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        values[self.rng.random(shape) < zeros] = 0
        self.tensors[name] = values
        return name

    def constant(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        self.tensors[name] = np.asarray(value, dtype)
        return name

    def op(self, operator: str, inputs: Sequence[str], output: str | Sequence[str], **attributes: Any) -> str:
        outputs = [output] if isinstance(output, str) else list(output)
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, outputs[0], **attributes))
        return outputs[0]

    def conv(
        self,
        x: str,
        output: str,
        channels: tuple[int, int],
        kernel: int = 3,
        stride: int = 1,
        zeros: float = 0.85,
        weight: str | None = None,
    ) -> str:
        name = weight or f"{output}.weight"
        if name not in self.tensors:
            self.weight(name, (channels[1], channels[0], kernel, kernel), zeros)
            self.weight(f"{name}.bias", (channels[1],), 0.0)
        pads = [kernel // 2] * 4
        return self.op("Conv", [x, name, f"{name}.bias"], output, strides=[stride] * 2, pads=pads)

    def model(self, inputs: Mapping[str, Sequence[int | str]], outputs: Sequence[str], rank: int = 4) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims)) for name, dims in inputs.items()],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"{name}.{axis}" for axis in range(rank)])
                for name in outputs
            ],
            [numpy_helper.from_array(value, name) for name, value in self.tensors.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def regions_of(
    model: ModelProto, values: Any = "fp16", least: float = 0.5
) -> tuple[ModelProto, ModelProto, RegionPlan]:
    """The packed model without and with regions; the second one is valid."""
    packed, _ = pack(normalize(model), values=values)
    built, plan = build_regions(packed, zeros_from(least))
    check_model(built)
    return packed, built, plan


def run(
    model: ModelProto,
    feeds: Mapping[str, Array],
    outputs: Sequence[str] | None = None,
    without: Sequence[str] = (),
) -> list[Array]:
    """What a stock runtime makes of a model. without: optimizers of it that are disabled."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(without)
    )
    return [np.asarray(value) for value in session.run(outputs, dict(feeds))]


def optimized(model: ModelProto, folder: Path) -> Counter[str]:
    """Operators of the graph that a stock runtime makes of a model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


def assert_same(packed: ModelProto, built: ModelProto, feeds: Mapping[str, Array]) -> None:
    """A stock runtime makes the same bits of both, and every program computes what its function computes."""
    for a, b in zip(run(packed, feeds), run(built, feeds), strict=True):
        assert a.shape == b.shape
        assert np.array_equal(a, b)
    assert_programs(built, feeds)


def assert_programs(built: ModelProto, feeds: Mapping[str, Array], slack: float = 0.0) -> None:
    """Each region's program, run by the oracle on what reaches the node, gives what the node returns.

    slack: what values may differ by beyond the oracle's bounds.
    """
    probe = ModelProto()
    probe.CopyFrom(built)
    regions = [node for node in probe.graph.node if is_region(node)]
    given = {value.name for value in probe.graph.input}
    made = {name for node in regions for name in (*node.input, *node.output)}
    constants = {tensor.name: tensor for tensor in probe.graph.initializer}
    returned = {value.name for value in probe.graph.output}
    wanted = sorted(made - constants.keys() - given)
    for name in wanted:
        if name not in returned:
            probe.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    values = dict(zip(wanted, run(probe, feeds, wanted), strict=True)) | dict(feeds)
    for node in regions:
        program = program_of(node)
        weights = decoded(program, node, constants)
        results = run_bounded(program, weights, [values[name] for name in node.input[: program.inputs]])
        for name, result in zip(node.output, results, strict=True):
            assert result.value.shape == values[name].shape
            # A stock runtime may use Winograd or another order; the bound is for one sum a value.
            allowed = 4 * result.bound + 1e-6 * np.abs(result.value).max() + slack
            assert (np.abs(result.value - values[name]) <= allowed).all(), name
    assert_steps(built, values)


def assert_steps(built: ModelProto, values: Mapping[str, Array]) -> None:
    """Kernels and stock runtime compute every instruction of the regions between bytes as the oracle does."""
    try:
        ops_library()
    except MissingLibraryError:
        return
    for region in extract_regions(built):
        if region.program is None or not reads_quantized(region.program):
            continue
        given = {name: values[name] for name in region.inputs}
        for exact in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                wrong = SteppedRegion(region, Path(folder), Stock(exact, 1e-4)).wrong_step(given)
                assert wrong is None, wrong


def decoded(program: Program, node: NodeProto, constants: Mapping[str, TensorProto]) -> list[Array]:
    found = []
    for weight in program.weights:
        values = array_of(constants[node.input[weight.values]])
        if weight.positions is None:
            found.append(values)
            continue
        coding = weight.coding + (Block(*weight.block).suffix if weight.block else "")
        positions = array_of(constants[node.input[weight.positions]])
        found.append(FORMATS.get(coding).decode({position_input(coding): positions, "values": values}, weight.dims))
    return found


def noise(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
