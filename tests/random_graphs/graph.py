"""From a seed to a model with inputs for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from tests.random_graphs.build import Array, Builder, Value, info, open_info
from tests.random_graphs.layers import LAYERS
from tests.random_graphs.nested import NESTED
from tests.random_graphs.others import OTHERS
from tests.random_graphs.quantized import QUANTIZED

Step = Callable[[Builder], Value | None]

OPSETS = (13, 14, 15, 16, 17, 18, 19, 20, 21)

ATTEMPTS = 20


@dataclass(frozen=True)
class RandomGraph:
    """A model and inputs for it.

    dtype: of most floats. quantized: whether values pass through bytes, where rounding moves them by whole steps.
    """

    seed: int
    model: ModelProto
    feeds: dict[str, Array]
    dtype: str
    quantized: bool

    def run(self, model: "ModelProto | None" = None) -> dict[str, Any]:
        """Outputs by name in stock ONNX Runtime, on one thread; of the graph itself if none other is given."""
        model = model or self.model
        names = [value.name for value in model.graph.output]
        return dict(zip(names, _session(model).run(None, self.feeds), strict=True))


def random_graph(seed: int, *, dtype: str | None = None) -> RandomGraph:
    """The graph of a seed; the first of a few attempts that stock ONNX Runtime runs.

    dtype: of its floats; the seed decides where None.
    """
    for attempt in range(ATTEMPTS):
        made = _made(seed, np.random.default_rng([seed, attempt]), dtype)
        if runs(made):
            return made
    raise AssertionError(f"no attempt at seed {seed} makes a graph that runs")


def runs(graph: RandomGraph) -> bool:
    """Whether a graph is valid, runs in stock ONNX Runtime, and makes finite values."""
    try:
        onnx.checker.check_model(graph.model)
        outputs = graph.run()
    except Exception:  # ONNX Runtime's exceptions share no base class
        return False
    floats = [value for value in outputs.values() if isinstance(value, np.ndarray) and value.dtype.kind == "f"]
    return all(np.isfinite(value).all() and np.abs(value).max(initial=0) < 1e4 for value in floats)


def _made(seed: int, rng: np.random.Generator, dtype: str | None) -> RandomGraph:
    kind = dtype or str(rng.choice(["float32", "float16", "float64"], p=[0.8, 0.15, 0.05]))
    b = Builder(rng, int(rng.choice(OPSETS)), kind)
    inputs, feeds = _inputs(b)
    quantized = kind == "float32" and b.chance(0.2)
    steps: dict[Step, int] = {**LAYERS, **OTHERS, **NESTED, **(QUANTIZED if quantized else {})}
    chances = np.array(list(steps.values()), float) / sum(steps.values())
    wanted = int(rng.integers(2, 14))
    for _ in range(wanted):
        step = list(steps)[int(rng.choice(len(steps), p=chances))]
        step(b)
    for _ in range(3):  # without a layer there is little to see
        if not b.weights:
            list(LAYERS)[int(rng.integers(len(LAYERS)))](b)
    model = _model(b, inputs)
    used = {value.name for value in model.graph.input}
    return RandomGraph(seed, model, {name: value for name, value in feeds.items() if name in used}, kind, quantized)


def _inputs(b: Builder) -> tuple[list[onnx.ValueInfoProto], dict[str, Array]]:
    """One or two inputs of a common batch, some of whose sizes are left open."""
    batch = b.pick([1, 1, 1, 2])
    shapes = [(batch, b.pick([3, 8, 16, 32]), b.pick([5, 8, 12, 16]), b.pick([5, 8, 12, 16]))]
    if b.chance(0.25):
        shapes.append(b.pick([(batch, 16), shapes[0], (batch, 7, 16)]))
    inputs, feeds = [], {}
    bytes_in = b.chance(0.1)
    for number, shape in enumerate(shapes):
        value = Value(f"in{number}", shape, "uint8" if bytes_in and not number else b.dtype)
        sizes: list[int | str] = list(shape)
        if b.chance(0.4):
            sizes[0] = "batch"
        if b.chance(0.3) and len(shape) == 4:
            sizes[2:] = ["height", "width"]
        inputs.append(info(value, tuple(sizes)))
        if value.dtype == "uint8":
            feeds[value.name] = b.rng.integers(0, 256, shape).astype(np.uint8)
            wide = b.make("Cast", [value.name], shape, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(b.dtype)))
            b.make("Mul", [wide.name, b.constant(b.floats(np.asarray(1 / 255)))], shape)
        else:
            feeds[value.name] = b.floats(b.rng.standard_normal(shape))
            b.pool.append(value)
    return inputs, feeds


def _model(b: Builder, inputs: list[onnx.ValueInfoProto]) -> ModelProto:
    outputs = _outputs(b)
    nodes = b.nodes if b.chance(0.4) else _live(b, [value.name for value in outputs])
    read = {name for node in nodes for name in _reads(node)} | {value.name for value in outputs}
    given = [value for value in inputs if value.name in read or b.chance(0.5)]
    tensors = [one for one in b.tensors if one.name in read or b.chance(0.3)]
    ir = int(b.pick([8, 8, 9, 10]))
    if b.chance(0.1):
        ir = 3
        given += [_of_tensor(one) for one in tensors]
    elif b.chance(0.1) and tensors:
        given.append(_of_tensor(b.pick(tensors)))
    graph = helper.make_graph(nodes, "random", given, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", b.opset)], ir_version=ir)


def _outputs(b: Builder) -> list[onnx.ValueInfoProto]:
    """The last value, and some from the middle; now and then a weight."""
    made = {name for node in b.nodes for name in node.output}
    able = [one for one in b.pool if one.name in made] or b.pool
    chosen = {one.name: one for one in (*b.made_by_layers[-1:], able[-1]) if b.chance(0.9)}
    chosen = chosen or {able[-1].name: able[-1]}
    for one in able:
        if b.chance(0.15):
            chosen[one.name] = one
    if b.chance(0.08) and b.weights:
        weight = b.pick(b.weights)
        chosen[weight.name] = weight
    if b.chance(0.08):
        source = able[-1]
        (name,) = b.node("Shape", [source.name])
        chosen[name] = Value(name, (len(source.shape),), "int64")
    infos = []
    for one in chosen.values():
        value = info(one) if b.chance(0.2) else open_info(one)
        if b.chance(0.2):
            value.type.tensor_type.ClearField("shape")
        infos.append(value)
    return infos


def _reads(node: onnx.NodeProto) -> set[str]:
    names = set(node.input)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            names |= {name for inner in attribute.g.node for name in _reads(inner)}
            names |= {value.name for value in attribute.g.output}
    return names - {""}


def _live(b: Builder, outputs: list[str]) -> list[onnx.NodeProto]:
    wanted, kept = set(outputs), []
    for node in reversed(b.nodes):
        if wanted & set(node.output):
            wanted |= _reads(node)
            kept.append(node)
    return kept[::-1]


def _of_tensor(tensor: onnx.TensorProto) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, tensor.data_type, list(numpy_helper.to_array(tensor).shape))


def _session(model: ModelProto) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
