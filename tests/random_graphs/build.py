"""State of a graph in the making: its nodes, its constants, and the values that a next node may read."""

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
Rng = np.random.Generator

TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "float64": TensorProto.DOUBLE,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
    "bool": TensorProto.BOOL,
}

LAYER_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Value:
    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass
class Builder:
    """Collects nodes; `pool` holds what later nodes may read.

    dtype: of floats. outer: the builder around a branch or the body of a loop, whose tensors it may read.
    """

    rng: Rng
    opset: int
    dtype: str = "float32"
    outer: "Builder | None" = None
    prefix: str = ""
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)
    pool: list[Value] = field(default_factory=list)
    weights: list[Value] = field(default_factory=list)
    made_by_layers: list[Value] = field(default_factory=list)
    count: list[int] = field(default_factory=lambda: [0])

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def fresh(self, stem: str) -> str:
        self.count[0] += 1
        return f"{self.prefix}{stem}{self.count[0]}"

    def node(
        self, op: str, inputs: list[str], stem: str | None = None, outputs: int = 1, **attributes: Any
    ) -> list[str]:
        """Add a node, some without a name, and return the names of its outputs."""
        names = [self.fresh(stem or op.lower()) for _ in range(outputs)]
        label = "" if self.chance(0.3) else f"{op}_{self.count[0]}"
        self.nodes.append(helper.make_node(op, inputs, names, label, **attributes))
        return names

    def make(
        self, op: str, inputs: list[str], shape: tuple[int, ...], dtype: str | None = None, **attributes: Any
    ) -> Value:
        """Add a node with one output, which joins the pool."""
        (name,) = self.node(op, inputs, **attributes)
        value = Value(name, tuple(int(size) for size in shape), dtype or self.dtype)
        self.pool.append(value)
        if op in LAYER_OPS:
            self.made_by_layers.append(value)
        return value

    def constant(self, array: Array, stem: str = "k", lifted: bool | None = None) -> str:
        """A constant: an initializer, or a Constant node."""
        name = self.fresh(stem)
        tensor = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        if self.chance(0.2) if lifted is None else lifted:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.tensors.append(tensor)
        return name

    def floats(self, array: Array) -> Array:
        """An array in the type of the graph's floats."""
        return np.asarray(array).astype(ml_dtypes.bfloat16 if self.dtype == "bfloat16" else self.dtype)

    def weight(self, shape: tuple[int, ...], fan_in: int) -> str:
        """A sparse weight of its own, or one of this shape that is there already."""
        shared = [one for one in self._reachable_weights() if one.shape == shape and one.dtype == self.dtype]
        if shared and self.chance(0.5):
            return str(self.pick(shared).name)
        array = self.sparse(shape, fan_in)
        name = self.constant(self.floats(array), "w")
        self.weights.append(Value(name, shape, self.dtype))
        return name

    def _reachable_weights(self) -> list[Value]:
        return self.weights + (self.outer._reachable_weights() if self.outer else [])

    def sparse(self, shape: tuple[int, ...], fan_in: int) -> Array:
        """Random weights with zeros of several kinds: single ones, pairs, whole filters, all."""
        array = self.rng.standard_normal(shape) * (1.5 / max(1, fan_in)) ** 0.5
        kind = self.rng.random()
        array[self.rng.random(shape) < self.pick([0.0, 0.3, 0.6, 0.8, 0.9, 0.97])] = 0
        if kind < 0.2:
            array[self.rng.random(shape[0]) < 0.4] = 0
        elif kind < 0.25:
            array[...] = 0
        elif kind < 0.3:
            array = np.round(array * 4) / 4
        return array

    def bias(self, size: int) -> str:
        shared = [one for one in self.weights if one.shape == (size,) and one.dtype == self.dtype]
        if shared and self.chance(0.4):
            return str(self.pick(shared).name)
        array = self.rng.standard_normal(size) * 0.3
        array[self.rng.random(size) < self.pick([0.0, 0.5, 1.0])] = 0
        name = self.constant(self.floats(array), "b")
        self.weights.append(Value(name, (size,), self.dtype))
        return name

    def inner(self, stem: str) -> "Builder":
        """A builder for a graph inside a node; it sees all that is outside."""
        return Builder(self.rng, self.opset, self.dtype, self, self.fresh(stem) + "/", count=self.count)

    def graph(self, name: str, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto]) -> GraphProto:
        return helper.make_graph(self.nodes, name, inputs, outputs, self.tensors)

    def of_rank(self, *ranks: int, dtype: str | None = None) -> list[Value]:
        """Floats that a next node may read, of these ranks; those made last are likelier to be picked."""
        found = [one for one in self.pool if len(one.shape) in ranks and one.dtype == (dtype or self.dtype)]
        return found + found[-2:] * 2


def info(value: Value, shape: "tuple[int | str | None, ...] | None" = None) -> ValueInfoProto:
    """A declaration of a value; with other sizes than those that the generator counts on if some are given."""
    return helper.make_tensor_value_info(value.name, TYPES[value.dtype], list(value.shape if shape is None else shape))


def open_info(value: Value) -> ValueInfoProto:
    """A declaration that leaves all sizes open."""
    return info(value, (None,) * len(value.shape))
