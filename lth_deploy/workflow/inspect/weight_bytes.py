"""What a model's bytes hold: zeros, multiplications by zero, and what other storages would take."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.measure.results import SizeParts
from lth_deploy.measure.size import coo_bytes

if TYPE_CHECKING:
    from lth_deploy.compiler.artifact.weight_layers import WeightLayer


@dataclass(frozen=True)
class WeightFacts:
    """Of one file.

    zero_weights and zero_macs: shares over all weight layers; None where there is nothing to count, or nobody
    knows how often each weight is used. bytes_coo, entropy_bytes: of the whole file, were each sparse
    weight an ONNX sparse initializer, or stored at the entropy of its positions plus its raw values.
    """

    zero_weights: float | None
    zero_macs: float | None
    bytes_coo: int
    entropy_bytes: int
    parts: SizeParts | None


def weight_facts(path: Path, positions: Mapping[str, int] | None) -> WeightFacts:
    """Count in the file `path`; positions: multiplications of each weight of a layer, for one image.

    Raises:
        ArtifactError: the file or a packed weight in it is damaged.
    """
    from lth_deploy.compiler.artifact.load import read_model
    from lth_deploy.compiler.artifact.weight_layers import weight_layers
    from lth_deploy.compiler.planning.mac_count import count_macs
    from lth_deploy.workflow.inspect.imported_model import as_imported

    loaded = read_model(path)
    model, size = loaded.model, path.stat().st_size + loaded.external_bytes
    coordinates = bool(model.graph.sparse_initializer)
    layers = weight_layers(as_imported(model)[0])
    coo = sum(_coo(layer) for layer in layers)
    stored = coo if coordinates else sum(layer.stored.nbytes for layer in layers)
    rest = max(0, size - stored)  # what is folded on import may be larger than its parts
    elements = sum(layer.elements for layer in layers)
    zeros = sum(layer.zeros for layer in layers)
    bound = sum(_bound(layer) for layer in layers)
    macs = count_macs(layers, positions or {})
    return WeightFacts(
        zero_weights=zeros / elements if elements else None,
        zero_macs=macs.zero_share if macs.total else None,
        bytes_coo=rest + coo,
        entropy_bytes=round(rest + bound),
        parts=None if coordinates else _parts(size, layers),
    )


def _coo(layer: "WeightLayer") -> int:
    """In float32, or the integers of a quantized layer; in full where coordinates would make it larger."""
    size = 1 if _value_bytes(layer) == 1 else 4
    return min(layer.elements * size, coo_bytes(layer.shape, layer.elements - layer.zeros, size))


def _bound(layer: "WeightLayer") -> float:
    """Positions at their entropy (of blocks where those are stored) plus raw values; or all values if that is less."""
    from lth_deploy.formats import FORMATS, entropy_bound

    size = _value_bytes(layer)
    block = FORMATS.get(layer.stored.coding).block
    return min(layer.elements * size, entropy_bound(layer.stored.weights(), size, block))


def _value_bytes(layer: "WeightLayer") -> int:
    from lth_deploy.compiler.model.tensor_types import numpy_type

    return numpy_type(layer.stored.value_type).itemsize


def _parts(size: int, layers: "list[WeightLayer]") -> SizeParts:
    from lth_deploy.compiler.artifact.packed_weight import tensor_bytes

    values = positions = dense = 0
    for layer in layers:
        if layer.stored.coding == "dense":
            dense += layer.stored.nbytes
            continue
        value_bytes = tensor_bytes(layer.stored.tensors["values"])
        values += value_bytes
        positions += layer.stored.nbytes - value_bytes
    return SizeParts(values=values, positions=positions, dense=dense, other=max(0, size - values - positions - dense))
