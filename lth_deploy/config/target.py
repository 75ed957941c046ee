"""The export target: what file to emit for whom. One YAML file under export/, or flags."""

from typing import Annotated, Literal

from pydantic import Field

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


class Rates(Section):
    """Speed of a class of layers on one thread, in billions of multiplications a second.

    dense: over all weights, in a stock runtime. sparse: over the non-zero ones, in the kernels, where there are many.
    With k of them left between an input and an output channel, on average, and n output channels, a layer takes
    1 + traffic / k + packing / (k n) times as long: for the sums that go to and fro, and for copying its inputs. Of
    depthwise layers k counts zeros too.
    """

    dense: Annotated[float, Field(gt=0)]
    sparse: Annotated[float, Field(gt=0)]
    traffic: Annotated[float, Field(ge=0)] = 0.0
    packing: Annotated[float, Field(ge=0)] = 0.0


class ByteRates(Section):
    """Rates of layers between bytes: `dense` of a stock runtime's int8 kernels, `sparse` over weights of kept quads.

    pairs: times as fast where two outputs share their quads. layout_dense: rate of the kernels on a dense layer, over
    the stock runtime's; of the stem, its `sparse` rate counts.
    """

    conv: Rates = Rates(dense=225, sparse=188, traffic=0.15, packing=15)
    pointwise: Rates = Rates(dense=200, sparse=172, traffic=0.05, packing=5)
    stem: Rates = Rates(dense=60, sparse=150)
    rows: Rates = Rates(dense=185, sparse=145, traffic=0.05, packing=5)
    grouped: Rates = Rates(dense=30, sparse=90, traffic=0.3, packing=15)
    depthwise: Rates = Rates(dense=10, sparse=60, traffic=14)
    pairs: Annotated[float, Field(gt=0)] = 1.19
    layout_dense: Annotated[float, Field(gt=0)] = 0.98


class CostTable(Section):
    """What the planner assumes of a machine; `export --tune` measures instead.

    The defaults are those of one core of an AMD EPYC with AVX-512 (Zen 4); other machines differ less in the ratio of
    sparse to dense than in either. export/epyc_avx2.yaml has a machine without AVX-512.
    """

    conv: Rates = Rates(dense=55, sparse=48, traffic=0.2, packing=15)
    pointwise: Rates = Rates(dense=54, sparse=44, traffic=0.05, packing=4)
    stem: Rates = Rates(dense=38, sparse=46)
    rows: Rates = Rates(dense=50, sparse=42, traffic=0.03, packing=4)
    grouped: Rates = Rates(dense=16, sparse=40, traffic=0.3, packing=15)
    depthwise: Rates = Rates(dense=33, sparse=45, traffic=13)
    paired_traffic: Annotated[float, Field(ge=0)] = Field(
        0.5, description="share of the traffic where two output channels have the same zeros"
    )
    transposed: Annotated[float, Field(gt=0)] = Field(
        0.76, description="share of the dense rate that transposed convolutions reach in the stock runtime"
    )
    layout_ns: Annotated[float, Field(ge=0)] = Field(
        1.2, description="to bring one value into the layout, or back, pools and resizing included"
    )
    roi_align: Annotated[float, Field(gt=0)] = Field(
        8.0, description="times as fast as the stock runtime's is our RoiAlign"
    )
    int8: ByteRates = ByteRates()


class Target(Section):
    """What `export` writes."""

    name: str = "onnxruntime"
    opset: Annotated[int, Field(ge=18, le=23)] = 18
    format: Literal["packed", "dense", "coo"] = "packed"
    values: Literal["fp32", "fp16", "int8"] = Field("fp16", description="int8: of all layers but those kept in float")
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
    costs: CostTable = CostTable()
    gates: GatesSpec = GatesSpec()

    @property
    def float_values(self) -> Literal["fp32", "fp16"]:
        """How weights are stored that stay float."""
        return "fp16" if self.values == "int8" else self.values
