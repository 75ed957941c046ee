"""The export target: what file to emit for whom. One YAML file under export/, or flags."""

from typing import Annotated, Literal

from pydantic import Field

from lth_deploy.config.cost_table import CostTable, default_costs
from lth_deploy.config.validation import Section


class GatesSpec(Section):
    """Bounds that an exported file is held to before it counts as exported."""

    images: Annotated[int, Field(gt=0)] = Field(32, description="val images that parity and AP are checked on")
    matched: Annotated[float, Field(gt=0, le=1)] = 0.99
    iou: Annotated[float, Field(gt=0, le=1)] = 0.99
    score_difference: Annotated[float, Field(gt=0)] = 1e-3
    keypoint_pixels: Annotated[float, Field(gt=0)] = 1.5
    ap_difference: Annotated[float, Field(gt=0)] = 0.001
    output_difference: Annotated[float, Field(gt=0)] = 1e-4
    half_difference: Annotated[float, Field(gt=0)] = Field(
        1e-2, description="the same for models of half precision, which a stock runtime rounds after each node"
    )
    bf16_difference: Annotated[float, Field(gt=0)] = Field(
        5e-2, description="the same between kernels that multiply in bf16 and a stock runtime that does not"
    )
    bf16_ap_drop: Annotated[float, Field(ge=0)] = Field(0.005, description="most AP that bf16 may cost")
    int8_ap_drop: Annotated[float, Field(ge=0)] = Field(0.005, description="most AP that quantization may cost")
    int8_steps: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="most that an output of a region that rounds sums once may differ from a stock runtime's, which "
        "rounds twice, in steps of its scale; unset: any, as every instruction is checked by itself",
    )


class CalibrationSpec(Section):
    """How `values: int8` finds the ranges of activations."""

    method: Literal["mse", "minmax", "entropy", "percentile"] = Field(
        "mse",
        description="mse: the range of least squared error behind the activation, and layers whose error reaches the "
        "outputs stay float; minmax: all that was seen; entropy and percentile need images of one size",
    )
    images: Annotated[int, Field(ge=2)] = Field(32, description="spread over the folder that is given")


class Target(Section):
    """What `export` writes."""

    name: str = "onnxruntime"
    opset: Annotated[int, Field(ge=18, le=23)] = 18
    format: Literal["packed", "dense", "coo"] = "packed"
    values: Literal["fp32", "fp16", "bf16", "int8"] = Field(
        "fp16",
        description="int8: of all layers but those kept in float; bf16: kernels multiply in bf16 and sum in fp32, on "
        "processors with AVX512-BF16 or AMX about twice as fast",
    )
    calibration: CalibrationSpec = CalibrationSpec()
    keep_float: list[str] = Field([], description="int8: patterns of weight names that stay float")
    keep_worst: Annotated[int, Field(ge=0)] = Field(
        0, description="int8: so many more layers stay float, those with the largest error of their own"
    )
    transformer_decoder: Literal["float", "int8"] = Field(
        "float", description="int8: what the matrix products become that end a detector, such as the decoder of a DETR"
    )
    float_macs: Annotated[float, Field(ge=0, le=1)] = Field(
        0.15, description="int8: share of the multiplications that may stay float because int8 costs the outputs most"
    )
    prefer: Literal["size", "load"] = "size"
    regions: Literal["auto", "none"] = Field(
        "auto", description="packed files only: sparse layers grouped for the kernel library"
    )
    region_zeros: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="share of zeros from which a layer is worth a sparse kernel"
    )
    region_quads: Annotated[float, Field(ge=0, le=1)] = Field(
        0.25, description="the same for int8 layers, in empty quads: 4 inputs of an output at a tap"
    )
    tune: bool = Field(False, description="keep only regions that are measured to be faster on this machine")
    profile: bool = Field(
        True, description="time what is no layer, for `inspect`; with neither this nor `tune`, same input, same bytes"
    )
    costs: CostTable = Field(default_factory=default_costs)
    gates: GatesSpec = GatesSpec()

    @property
    def float_values(self) -> Literal["fp32", "fp16", "bf16"]:
        """How weights are stored that stay float."""
        return "fp16" if self.values == "int8" else self.values
