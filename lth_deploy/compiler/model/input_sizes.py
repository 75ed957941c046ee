"""Which sizes the inputs of a model may have: as declared, given by the user, or found by trying a few usual ones."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from onnx import ModelProto, ValueInfoProto

from lth_deploy.compiler.model.first_layers import FirstLayer, first_layers
from lth_deploy.errors import UsageError

Sizes = Mapping[str, tuple[int, ...]]
"""Shape of each input by its name."""

SIDE = 320
"""First size that is tried for height and width, pixels."""

_SIDES = (
    *((640, 640), (416, 416), (512, 512), (224, 224), (48, 320), (32, 320), (32, 100), (32, 32), (64, 64)),
    *((128, 128), (256, 256), (300, 300), (384, 384), (608, 608), (800, 800), (28, 28), (16, 16), (1024, 1024)),
)
"""Height and width that are tried next."""

_OTHERS = (16, 1, 4, 32, 77, 100, 128, 300)
"""Sizes that are no plane: tokens, boxes, steps of a sequence."""

_BATCH = re.compile(r"batch|^n$|^b$|^bs$", re.IGNORECASE)
_IMAGE_CHANNELS = (1, 3, 4)

Dim = int | str | None
Role = Literal["batch", "height", "width", "other"]


@dataclass(frozen=True)
class DeclaredInput:
    """An input of the graph. dims: a size, a symbol or None for each dimension; None where even the rank is open."""

    name: str
    dims: tuple[Dim, ...] | None

    def __str__(self) -> str:
        if self.dims is None:
            return f"input '{self.name}', declared without a shape"
        return f"input '{self.name}', declared as [{', '.join('?' if d is None else str(d) for d in self.dims)}]"

    def suggested(self) -> str:
        """The option that gives its sizes."""
        dims = self.dims or (1, 3, 640, 640)
        words = [str(dim) if isinstance(dim, int) else "N" for dim in dims]
        return f"--shape {self.name}={','.join(words)}"


def declared_inputs(model: ModelProto) -> list[DeclaredInput]:
    """The inputs that a caller has to give: those without an initializer.

    Raises:
        UsageError: one is no tensor.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    stored |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    return [_declared(value) for value in model.graph.input if value.name not in stored]


def _declared(value: ValueInfoProto) -> DeclaredInput:
    if not value.type.HasField("tensor_type"):
        kind = value.type.WhichOneof("value") or "no type"
        raise UsageError(
            f"input '{value.name}' is no tensor but {kind.replace('_', ' ')}, for which no values are made up; "
            "give --images DIR and --decoder FILE.py:function, which prepares them"
        )
    tensor = value.type.tensor_type
    if any(dim.dim_value < 0 for dim in tensor.shape.dim):
        sizes = [int(dim.dim_value) for dim in tensor.shape.dim]
        raise UsageError(f"input '{value.name}' has the impossible size {sizes}; save the model again")
    if not tensor.HasField("shape"):
        return DeclaredInput(value.name, None)
    dims = tuple(int(d.dim_value) if d.dim_value > 0 else d.dim_param or None for d in tensor.shape.dim)
    return DeclaredInput(value.name, dims)


def check_given(inputs: Sequence[DeclaredInput], given: Sizes) -> dict[str, int]:
    """What `given` shapes say of symbols.

    Raises:
        UsageError: a shape is of no input, has another rank or another size than declared, or contradicts another.
    """
    by_name = {one.name: one for one in inputs}
    symbols: dict[str, int] = {}
    for name, shape in given.items():
        one = by_name.get(name)
        if one is None:
            names = ", ".join(by_name) or "none"
            raise UsageError(f"--shape {name}: the model has no such input; its inputs are {names}")
        text = f"--shape {name}={','.join(map(str, shape))}"
        if one.dims is None:
            continue
        pairs = zip(one.dims, shape, strict=False)
        if len(one.dims) != len(shape) or any(isinstance(dim, int) and dim != size for dim, size in pairs):
            raise UsageError(f"{text} does not fit {one}")
        for dim, size in zip(one.dims, shape, strict=True):
            if isinstance(dim, str) and symbols.setdefault(dim, size) != size:
                raise UsageError(f"{text}: '{dim}' would be {size} here and {symbols[dim]} elsewhere; it is one size")
    return symbols


def candidate_sizes(model: ModelProto, given: Sizes) -> Iterator[dict[str, tuple[int, ...]]]:
    """Sizes of all inputs that are worth a try, the likeliest first; a single one where nothing is open.

    Equal symbols get equal sizes. A batch is 1. Channels are those that the first layer takes which reads the input.

    Raises:
        UsageError: see `declared_inputs` and `check_given`.
    """
    inputs = declared_inputs(model)
    symbols: dict[str, int | Role] = dict(check_given(inputs, given))
    layers = first_layers(model)
    ranked = [(one.name, *_roles(one, layers.get(one.name))) for one in inputs if one.name not in given]
    for symbol, roles in _by_symbol(ranked).items():
        symbols.setdefault(symbol, min(roles, key=_preferred))
    seen: list[dict[str, tuple[int, ...]]] = []
    for known in _combinations(model):
        sizes = dict(given)
        for name, dims, roles in ranked:
            meant = [symbols[dim] if isinstance(dim, str) else role for dim, role in zip(dims, roles, strict=True)]
            sizes[name] = tuple(known[one] if isinstance(one, str) else one for one in meant)
        if sizes not in seen:
            seen.append(sizes)
            yield sizes


def _preferred(role: "int | Role") -> int:
    """Of the roles that the places of a symbol have: a size that is known first, then what an image says."""
    return ("height", "width", "batch", "other").index(role) if isinstance(role, str) else -1


def _combinations(model: ModelProto) -> Iterator[dict[str, int]]:
    hints = [(side, side) for side in _hinted(model)]
    sides = [*hints, (SIDE, SIDE), *_SIDES]
    choices = [(*pair, _OTHERS[0]) for pair in sides] + [(*sides[0], other) for other in _OTHERS[1:]]
    for height, width, other in choices:
        yield {"batch": 1, "height": height, "width": width, "other": other}


def _hinted(model: ModelProto) -> list[int]:
    """The size of training that some exporters note: `imgsz` of ultralytics, [640, 640]."""
    texts = [entry.value for entry in model.metadata_props if entry.key == "imgsz"]
    return [int(number) for text in texts for number in re.findall(r"\b[1-9]\d{1,3}\b", text)[:1]]


def _by_symbol(ranked: Sequence[tuple[str, tuple[Dim, ...], list["int | Role"]]]) -> "dict[str, list[int | Role]]":
    found: dict[str, list[int | Role]] = {}
    for _, dims, roles in ranked:
        for dim, role in zip(dims, roles, strict=True):
            if isinstance(dim, str):
                found.setdefault(dim, []).append(role)
    return found


def _roles(one: DeclaredInput, layer: FirstLayer | None) -> tuple[tuple[Dim, ...], list["int | Role"]]:
    """The dimensions of an input, and of each its size or its role."""
    dims = one.dims if one.dims is not None else (None,) * (layer.rank if layer and layer.rank else 4)
    if layer is not None and layer.rank not in (None, len(dims)):
        layer = None
    image = len(dims) == 3 and layer is None and _channels_at(dims, 2, 0) is not None  # one without a batch
    axis = len(dims) - 1
    if layer is not None:
        axis = layer.axis % len(dims)
    elif len(dims) >= 4 or image:
        found = _channels_at(dims, 1 if len(dims) >= 4 else 0, len(dims) - 1)
        axis = 1 if found is None else found
    planes = len(dims) >= 4 or image
    sides: Iterator[Role] = iter(("height", "width"))
    roles: list[int | Role] = []
    for place, dim in enumerate(dims):
        role: int | Role = "other"
        if place == axis and layer is not None:
            role = layer.channels
        elif place == axis and planes:
            role = 3
        elif place == 0 and not image:
            role = "batch"
        elif planes:
            role = next(sides, "other")
        if isinstance(dim, str) and _BATCH.search(dim):
            role = "batch"
        roles.append(dim if isinstance(dim, int) else role)
    return dims, roles


def _channels_at(dims: tuple[Dim, ...], *places: int) -> int | None:
    """The first of some places where an image has its channels."""
    return next((place for place in places if dims[place] in _IMAGE_CHANNELS), None)


def sizes_text(sizes: Sizes) -> str:
    """Shapes of inputs in words: `image 1x3x320x320`."""
    return ", ".join(f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in sizes.items())
