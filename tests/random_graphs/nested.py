"""Steps with graphs inside: branches and loops, whose nodes read weights and values from outside."""

import numpy as np

from tests.random_graphs.build import Builder, Value, info, open_info
from tests.random_graphs.layers import LAYERS
from tests.random_graphs.others import activation


def branch(b: Builder) -> Value | None:
    """An If whose branches make the same size; the condition is a constant, an input's size, or computed."""
    inputs = b.of_rank(2, 4)
    if not inputs:
        return None
    x = b.pick(inputs)
    (total,) = b.node("ReduceSum", [x.name], keepdims=0)
    (condition,) = b.node("Greater", [total, b.constant(b.floats(np.asarray(b.pick([-6e4, 6e4]))))])
    graphs = {}
    for side in ("then_branch", "else_branch"):
        inner = b.inner(side)
        inner.pool.append(x)
        if b.chance(0.5):
            b.pick(list(LAYERS))(inner)
        (name,) = inner.node("Identity", [x.name])
        made = Value(name, x.shape, b.dtype)
        inner.pool = [made]
        made = _square(inner, made) if b.chance(0.7) else made
        graphs[side] = inner.graph(side, [], [open_info(made)])
    return b.make("If", [condition], x.shape, **graphs)


def loop(b: Builder) -> Value | None:
    """A Loop over a carried value of one size, with a layer inside."""
    inputs = b.of_rank(2, 4)
    if not inputs:
        return None
    x = b.pick(inputs)
    inner = b.inner("body")
    carried = Value(inner.fresh("carried"), x.shape, b.dtype)
    inner.pool.append(carried)
    step, going = Value(inner.fresh("i"), (), "int64"), Value(inner.fresh("go"), (), "bool")
    made = _square(inner, carried)
    inner.pool = [made]
    made = activation(inner) or made
    (kept,) = inner.node("Identity", [going.name])
    outputs = [info(Value(kept, (), "bool"), ()), open_info(made)]
    body = inner.graph("body", [info(step, ()), info(going, ()), open_info(carried)], outputs)
    count = b.constant(np.int64(b.pick([1, 2])), lifted=False)
    return b.make("Loop", [count, "", x.name], x.shape, body=body)


def _square(b: Builder, x: Value) -> Value:
    """A layer that keeps the size of what it reads; weights may be shared with the graph outside."""
    c = x.shape[1]
    weight = b.weight((c, c, 1, 1) if len(x.shape) == 4 else (c, c), c)
    if len(x.shape) == 4:
        return b.make("Conv", [x.name, weight], x.shape)
    made = (
        b.make("Gemm", [x.name, weight], x.shape, transB=1)
        if b.chance(0.5)
        else b.make("MatMul", [x.name, weight], x.shape)
    )
    return made


NESTED = {branch: 1, loop: 1}
