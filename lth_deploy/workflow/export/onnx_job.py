"""What `export --onnx` is to do with a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class OnnxJob:
    """What to do with the model, and what to check it on.

    sparsity: share of all weights to set to zero, None to leave them. exclude: patterns of weight names that
    are not pruned. images: folder for the gate, used through `decoder` (a registered name or
    'FILE.py:function'); noise without one. data: COCO annotations of `images`, for the AP before and after.
    max_ap_drop: most box AP that may be lost, as a fraction. calibrate: folder of images for `values: int8` and for
    pruning with `one_shot` obs, which is the default where there are some, else magnitude. structure: of its zeros.
    keep_inputs: whether inputs of the graph that have a default value stay inputs; weights among them are not packed.
    shapes: of inputs whose sizes the model leaves open, by name; others are found by trying usual ones.
    """

    sparsity: float | None = None
    exclude: tuple[str, ...] = ()
    images: Path | None = None
    decoder: str | None = None
    data: Path | None = None
    max_ap_drop: float | None = None
    calibrate: Path | None = None
    one_shot: str | None = None
    structure: str = "single"
    keep_inputs: bool = False
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
