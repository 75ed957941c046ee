"""What `export --onnx` is to do with a model; a job that cannot work is refused when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lth_deploy.config.target import Target
from lth_deploy.errors import UsageError
from lth_deploy.structures import GROUPS, RECONSTRUCTED

METHODS = ("obs", "magnitude")


@dataclass(frozen=True)
class OnnxJob:
    """What to do with the model, and what to check it on.

    sparsity: share of all weights to set to zero, None to leave them. exclude: patterns of weight names that
    are not pruned. images: folder for the gate, used through `decoder` (a registered name or
    'FILE.py:function'); noise without one. data: COCO annotations of `images`, for the AP before and after.
    max_ap_drop: most box AP that may be lost, as a fraction; without `sparsity`, the largest share of zeros that keeps
    it is searched. calibrate: folder of images for `values: int8` and for pruning with `one_shot` obs, which is the
    default where there are some, else magnitude. structure: of its zeros.
    keep_inputs: whether inputs of the graph that have a default value stay inputs; weights among them are not packed.
    shapes: of inputs whose sizes the model leaves open, by name, to be fixed; others stay open, and for noise are found
    by trying usual ones.

    Raises:
        UsageError: a value is unknown or out of range, or options do not go together.
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

    def __post_init__(self) -> None:
        self._check_pruning()
        self._check_method()
        self._check_images()

    @property
    def method(self) -> str | None:
        """How the model is pruned: as `one_shot` says, else obs with images to calibrate on; None where it is not."""
        if self.sparsity is None and not self.searches:
            return None
        return self.one_shot or ("magnitude" if self.calibrate is None else "obs")

    @property
    def searches(self) -> bool:
        """Whether the share of zeros is to be searched."""
        return self.sparsity is None and self.max_ap_drop is not None

    def check_target(self, target: Target) -> None:
        """Refuse a target that the images to calibrate on are missing for, or are of no use for.

        Raises:
            UsageError: as above.
        """
        if target.values == "int8" and self.calibrate is None:
            raise UsageError("--values int8 takes the ranges of activations from images; give --calibrate DIR")
        if target.values != "int8" and self.calibrate is not None and self.method != "obs":
            raise UsageError("--calibrate goes with --values int8, or with --sparsity and --one-shot obs")

    def _check_pruning(self) -> None:
        if self.sparsity is not None and not 0.0 <= self.sparsity < 1.0:
            raise UsageError(f"sparsity {self.sparsity} is not in [0, 1); 0.8 keeps one weight in five")
        if self.one_shot is not None and self.one_shot not in METHODS:
            raise UsageError(f"--one-shot '{self.one_shot}' is unknown; choose {' or '.join(METHODS)}")
        if self.method is None and (self.one_shot is not None or self.structure != "single"):
            raise UsageError(
                "--one-shot and --structure say how to prune; give --sparsity SHARE as well, or --max-ap-drop POINTS "
                "to have the share searched"
            )
        if self.searches and self.structure in GROUPS:
            raise UsageError(
                f"--structure {self.structure} has one share of zeros, so none is searched; give --sparsity"
            )

    def _check_method(self) -> None:
        if self.structure == "filter":
            raise UsageError(
                "--structure filter takes whole output channels away, which a network only stands when it is trained "
                "on: search it with find-ticket and pruning.structure: filter. Channels of the file that are zero "
                "already are removed without being asked for"
            )
        if self.structure not in RECONSTRUCTED:
            raise UsageError(f"unknown structure '{self.structure}'; choose one of {', '.join(RECONSTRUCTED)}")
        if self.one_shot == "obs" and self.calibrate is None:
            raise UsageError(
                "--one-shot obs looks at what reaches each layer; give --calibrate DIR with some tens of images"
            )
        if self.method == "magnitude" and self.structure != "single":
            raise UsageError(f"--structure {self.structure} is for --one-shot obs; give --calibrate DIR")

    def _check_images(self) -> None:
        if self.data is not None and self.images is None:
            raise UsageError("--data needs the folder of its images; give --images DIR")
        if self.max_ap_drop is not None and not 0.0 <= self.max_ap_drop <= 1.0:
            raise UsageError(f"--max-ap-drop {100 * self.max_ap_drop:g} is not in [0, 100]; it is in points of AP")
        if self.max_ap_drop is not None and self.data is None:
            raise UsageError("--max-ap-drop needs annotations to measure AP on; give --data ANN.json --images DIR")
