"""Damage to ONNX files: to any field of any message, and to what models are about: shapes, names, types, functions."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from google.protobuf.message import Error
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from tests.fuzz.mutate_bytes import INTEGERS, TEXTS, damaged

_SIZES = (-1, 0, 1, 2, 3, 7, 16, 224, 4096, 40000, 1 << 31, 1 << 40, (1 << 63) - 1)
_LOCATIONS = (
    "weights.bin",
    "../secret.bin",
    "/etc/passwd",
    "",
    ".",
    "a/../../x",
    "weights.bin\x00",
    "x" * 300,
    "link.bin",
)
_OPERATORS = (
    *("Identity", "Cast", "Reshape", "Transpose", "Shape", "Resize", "Upsample", "Loop", "If", "Scan", "Range", "Tile"),
    *(
        "ConstantOfShape",
        "Expand",
        "Pad",
        "NonZero",
        "Conv",
        "MatMul",
        "Gemm",
        "ConvTranspose",
        "Einsum",
        "TopK",
        "Size",
    ),
    *("DequantizeLinear", "QuantizeLinear", "SequenceConstruct", "NonMaxSuppression", "Size"),
)


def damaged_model(model: ModelProto, random: Random) -> bytes:
    """The bytes of a damaged model; one in ten is damaged as bytes."""
    if random.random() < 0.1:
        return damaged(model.SerializeToString(), random)
    copy = ModelProto()
    copy.CopyFrom(model)
    for _ in range(1 if random.random() < 0.65 else random.randint(2, 4)):
        change = random.choice(_CHANGES) if random.random() < 0.75 else _field
        try:
            change(copy, random)
        except (IndexError, ValueError, TypeError, OverflowError, Error):
            continue  # nothing to change there, or a value that the field cannot hold
    try:
        return copy.SerializeToString()
    except (Error, ValueError):  # nested deeper than protobuf writes
        return damaged(model.SerializeToString(), random)


def _messages(message: Any, depth: int = 0) -> Iterator[Any]:
    yield message
    if depth < 40:
        for field, value in message.ListFields():
            if field.message_type is not None:
                for child in value if field.is_repeated else (value,):
                    yield from _messages(child, depth + 1)


def _field(model: ModelProto, random: Random) -> None:
    """Any field of any message, by its type alone."""
    message = random.choice(list(_messages(model)))
    filled = [field for field, _ in message.ListFields()]
    field = random.choice(filled if random.random() < 0.7 else list(message.DESCRIPTOR.fields))
    kind = random.randrange(4)
    if kind == 0:
        message.ClearField(field.name)
    elif field.is_repeated:
        _repeated(getattr(message, field.name), field, kind, random)
    elif field.message_type is not None:
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _scalar(field, getattr(message, field.name), random))


def _repeated(values: Any, field: Any, kind: int, random: Random) -> None:
    if field.message_type is not None:
        if not values or kind == 1:
            values.add()
        elif kind == 2:
            values.add().CopyFrom(random.choice(list(values)))
        else:
            del values[random.randrange(len(values))]
    elif values and kind == 1:
        values[random.randrange(len(values))] = _scalar(field, values[0], random)
    elif values and kind == 2:
        del values[random.randrange(len(values))]
    else:
        values.append(_scalar(field, values[0] if values else field.default_value or 0, random))


def _scalar(field: Any, old: Any, random: Random) -> Any:
    if field.enum_type is not None:
        return random.choice([value.number for value in field.enum_type.values])
    if isinstance(old, bytes):
        return damaged(old, random)
    if isinstance(old, str):
        return random.choice([*TEXTS, old + "x", old[:-1]])
    if isinstance(old, float):
        return random.choice([0.0, -1.0, float("nan"), float("inf"), 1e38, 1e-45, old * 1e6])
    wide = field.type == field.TYPE_INT64
    return random.choice([old + 1, old - 1, -old, *(n for n in INTEGERS if n < (1 << 63 if wide else 1 << 31))])


def _nodes(model: ModelProto) -> list[NodeProto]:
    return [message for message in _messages(model) if isinstance(message, NodeProto)]


def _tensors(model: ModelProto) -> list[TensorProto]:
    return [message for message in _messages(model) if isinstance(message, TensorProto)]


def _names(model: ModelProto) -> list[str]:
    nodes = _nodes(model)
    found = [name for node in nodes for name in (*node.input, *node.output)]
    return found + [value.name for value in (*model.graph.input, *model.graph.output, *model.graph.initializer)] + [""]


def _rewire(model: ModelProto, random: Random) -> None:
    node = random.choice(_nodes(model))
    names = node.input if random.random() < 0.7 else node.output
    names[random.randrange(len(names))] = random.choice(_names(model))


def _operator(model: ModelProto, random: Random) -> None:
    nodes = _nodes(model)
    node = random.choice(nodes)
    node.op_type = random.choice([*_OPERATORS, random.choice(nodes).op_type])
    if random.random() < 0.1:
        node.domain = random.choice(["", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.lth_deploy", "x" * 600])


def _order(model: ModelProto, random: Random) -> None:
    nodes = model.graph.node
    first, second = random.randrange(len(nodes)), random.randrange(len(nodes))
    kept = NodeProto()
    kept.CopyFrom(nodes[first])
    nodes[first].CopyFrom(nodes[second])
    nodes[second].CopyFrom(kept)


def _drop_node(model: ModelProto, random: Random) -> None:
    del model.graph.node[random.randrange(len(model.graph.node))]


def _attribute(model: ModelProto, random: Random) -> None:
    node = random.choice([node for node in _nodes(model) if node.attribute])
    attribute = random.choice(list(node.attribute))
    values: list[Any] = [
        random.choice(_SIZES),
        [random.choice(_SIZES) for _ in range(random.randrange(8))],
        random.choice(TEXTS).encode("utf-8", "replace"),
        random.choice([0.0, -1.5, float("nan"), float("inf"), 1e30]),
    ]
    if attribute.ints and random.random() < 0.6:
        attribute.ints[random.randrange(len(attribute.ints))] = random.choice(_SIZES)
    else:
        value = random.choice(values)
        if value == []:
            attribute.CopyFrom(helper.make_attribute(attribute.name, value, attr_type=7))
        else:
            attribute.CopyFrom(helper.make_attribute(attribute.name, value))


def _dimensions(model: ModelProto, random: Random) -> None:
    tensor = random.choice(_tensors(model))
    if tensor.dims and random.random() < 0.8:
        tensor.dims[random.randrange(len(tensor.dims))] = random.choice(_SIZES)
    else:
        tensor.dims.append(random.choice(_SIZES))


def _declared_shape(model: ModelProto, random: Random) -> None:
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    shape = random.choice(values).type.tensor_type.shape
    kind = random.randrange(5)
    if kind == 0:
        random.choice(list(shape.dim)).dim_value = random.choice(_SIZES)
    elif kind == 1:
        random.choice(list(shape.dim)).dim_param = random.choice(["height", "n", *TEXTS])
    elif kind == 2:
        shape.dim.add().dim_value = random.choice(_SIZES)
    elif kind == 3:
        del shape.dim[random.randrange(len(shape.dim))]
    else:
        random.choice(list(shape.dim)).ClearField("value")


def _element_type(model: ModelProto, random: Random) -> None:
    kinds = [*range(24), 99, -1]
    if random.random() < 0.5:
        random.choice(_tensors(model)).data_type = random.choice(kinds)
    else:
        values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
        random.choice(values).type.tensor_type.elem_type = random.choice(kinds)


def _versions(model: ModelProto, random: Random) -> None:
    kind = random.randrange(3)
    if kind == 0:
        model.ir_version = random.choice([0, 1, 3, 4, 7, 10, 99, 1 << 62])
    elif kind == 1:
        random.choice(list(model.opset_import)).version = random.choice([-1, 0, 1, 6, 7, 9, 11, 13, 17, 22, 26, 999])
    else:
        entry = model.opset_import.add()
        entry.domain, entry.version = (
            random.choice(["", "com.lth_deploy", "ai.onnx.ml", "x"]),
            random.choice([1, 2, 18]),
        )


def _external(model: ModelProto, random: Random) -> None:
    tensor = random.choice(_tensors(model))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (
        ("location", random.choice(_LOCATIONS)),
        ("offset", str(random.choice([0, 4, 4096, *_SIZES]))),
        ("length", str(random.choice([0, 4, 4096, *_SIZES]))),
    ):
        if random.random() < 0.8:
            tensor.external_data.add(key=key, value=value)


def _values(model: ModelProto, random: Random) -> None:
    tensor = random.choice([tensor for tensor in _tensors(model) if tensor.raw_data])
    data = bytearray(tensor.raw_data)
    for _ in range(random.choice((1, 4, 64))):
        at = random.randrange(0, len(data), 4)
        data[at : at + 4] = random.choice(
            (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\x80\x7f", b"\0\0\xc0\x7f", random.randbytes(4))
        )
    tensor.raw_data = bytes(data[: len(tensor.raw_data)])


def _fold_away(model: ModelProto, random: Random) -> None:
    """A weight behind a node of another kind."""
    node = random.choice([node for node in model.graph.node if len(node.input) > 1])
    at = random.randrange(1, len(node.input))
    name = f"behind.{len(model.graph.node)}"
    middle = helper.make_node(random.choice(_OPERATORS), [node.input[at]], [name])
    node.input[at] = name
    model.graph.node.insert(0, middle)


def _function(model: ModelProto, random: Random) -> None:
    """Some nodes as a function: sound, recursive, or of another signature."""
    node = random.choice(list(model.graph.node))
    domain = random.choice(["local", "com.lth_deploy", ""])
    name = random.choice(["Made", node.op_type])
    body = [node, node] if random.random() < 0.3 else [node]
    if random.random() < 0.3:
        body = [*body, helper.make_node(name, list(node.input), ["again"], domain=domain)]
    opsets = list(model.opset_import) if random.random() < 0.8 else []
    model.functions.append(helper.make_function(domain, name, list(node.input), list(node.output), body, opsets))
    called = helper.make_node(name, list(node.input), list(node.output), domain=domain)
    node.CopyFrom(called)
    if random.random() < 0.9 and domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))


def _into_branch(model: ModelProto, random: Random) -> None:
    """A node in both branches of an If, nested now and then very deep."""
    node = random.choice(list(model.graph.node))
    kept = NodeProto()
    kept.CopyFrom(node)
    condition = helper.make_tensor("on", TensorProto.BOOL, [], [random.random() < 0.5])
    model.graph.initializer.append(condition)
    outputs = [helper.make_empty_tensor_value_info(name) for name in kept.output]
    branch = helper.make_graph([kept], "branch", [], outputs)
    for _ in range(random.choice((0, 0, 0, 1, 8, 40))):
        inner = helper.make_node("If", ["on"], list(kept.output), then_branch=branch, else_branch=GraphProto())
        branch = helper.make_graph([inner], "deeper", [], outputs)
    node.CopyFrom(helper.make_node("If", ["on"], list(kept.output), then_branch=branch, else_branch=branch))


def _rename(model: ModelProto, random: Random) -> None:
    """One name everywhere: empty, long, or with characters of a terminal or a path."""
    old = random.choice([name for name in _names(model) if name])
    new = random.choice(TEXTS)
    for node in _nodes(model):
        for names in (node.input, node.output):
            for at, name in enumerate(names):
                if name == old:
                    names[at] = new
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        if value.name == old:
            value.name = new


def _metadata(model: ModelProto, random: Random) -> None:
    entry = model.metadata_props.add()
    entry.key = random.choice(["lth_deploy", "x", ""])
    entry.value = random.choice(["{}", "[" * 2000, '{"version": 1}', "null", "1" * 5000])


_CHANGES: tuple[Callable[[ModelProto, Random], None], ...] = (
    _rewire,
    _rewire,
    _operator,
    _order,
    _drop_node,
    _attribute,
    _attribute,
    _dimensions,
    _dimensions,
    _declared_shape,
    _declared_shape,
    _element_type,
    _versions,
    _external,
    _values,
    _fold_away,
    _fold_away,
    _function,
    _into_branch,
    _rename,
    _metadata,
)
