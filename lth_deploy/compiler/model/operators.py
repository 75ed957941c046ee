"""What passes have to know of each ONNX operator: one table instead of a list of names in every pass.

`traits_of` answers for any operator; one without a row has no trait. Places of inputs and outputs are those of the
ONNX operator specification (Operators.md), or of ONNX Runtime's contrib operators for those of `com.microsoft`.
Functions that exist once for each operator, such as shape rules, stay in tables beside their code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """Traits of one operator: facts of the specification first, then what passes and runtimes do with it.

    A trait is set where some pass needs it; a row is no complete description of its operator.
    """

    weight_input: int | None = None
    """The input that a layer multiplies its data by: `W`, `B` or `w` of the specification."""

    float_layer: bool = False
    """A standard layer on floats, whose weight is input 1. Others with a weight are fused, or take integers."""

    bias_input: int | None = None
    """The optional input of a float layer that is added to each output channel: `B` of Conv, `C` of Gemm."""

    parameter_inputs: tuple[int, ...] = ()
    """Inputs of operators without a weight that are constants in any trained model: scales, statistics, zero points."""

    view: bool = False
    """The output has the elements of the input, unchanged, in another shape or order of axes."""

    moves_no_value: bool = False
    """ONNX Runtime gives the output the memory of the input, or computes it from sizes: it takes no time."""

    dequantizes: bool = False
    """The output is the input as floats: (input - zero point) * scale."""

    joins: bool = False
    """Every input is data of one type: variadic inputs, or the two operands of arithmetic."""

    keeps_shape: bool = False
    """The first output has the shape of the first input."""

    keeps_zero_channels: bool = False
    """Each channel of the output depends on the same channel of the input alone, and is zero where that is zero."""

    joins_zero_channels: bool = False
    """Each channel of the output depends on the same one of the inputs alone, and is zero where all of those are."""

    keeps_range: bool = False
    """Outputs are elements of the input, or lie between some of them: scale and zero point of the input fit them."""

    clamps: bool = False
    """It only limits values. A QuantizeLinear behind it, whose range ends at the same limits, computes the same."""

    float_inputs: tuple[int, ...] = (0,)
    """Inputs of the type `T` of the data. Of an operator that `joins` it is all of them, however many there are."""

    first_output_only: bool = False
    """Only the first output has the type `T` of the data; others are masks, indices or statistics."""

    constant_folding: bool = False
    """It computes the same whenever it runs, from its inputs alone: on constants it is computed on import."""

    folded_as: str = ""
    """What import calls it, in the plural, where it scales or shifts each channel by a constant beside a layer."""

    removable_channels: bool = False
    """A layer of which `dead_channels` can take out filters and inputs; both are axes of its weight."""

    bf16_kernels: bool = False
    """A layer that the kernels can multiply in bf16, where it is no convolution of several groups."""

    follows_widening: bool = False
    """Behind a layer of half precision that is computed in float32, it is computed in float32 too."""

    before_first_layer: bool = False
    """Exporters write it between an input of the graph and the first layer; it leaves the channels where they are."""

    carries_uint8: bool = False
    """ONNX Runtime computes it on uint8 between two quantized layers; any other would add conversions."""

    trained_quantized: bool = False
    """Fake quantization follows it between layers; behind any other a tensor has no scale before the next layer."""

    feature_inputs: tuple[int, ...] | None = None
    """Inputs whose values are in the output; the others say where, how many or which. Unset: all of them."""

    picks: bool = False
    """The output names some elements of the input, or their order: a small change of the input exchanges them."""

    elementwise: bool = False
    """Each element of the output is a function of the element of each input at the same place."""

    inserted_by_runtime: bool = False
    """ONNX Runtime adds such nodes between layers, to change the layout or the type of what they read."""

    @property
    def has_weight(self) -> bool:
        """Whether it is a layer of any kind."""
        return self.weight_input is not None

    @property
    def leads_to_weight(self) -> bool:
        """Whether it may stand between a stored tensor and the layer that the tensor is the weight of."""
        return self.view or self.dequantizes


def _each(names: str, traits: Traits) -> dict[str, Traits]:
    return dict.fromkeys(names.split(), traits)


_CONVERSION = Traits(
    parameter_inputs=(1, 2), keeps_shape=True, constant_folding=True, before_first_layer=True, inserted_by_runtime=True
)
_RELU = Traits(
    keeps_shape=True,
    clamps=True,
    elementwise=True,
    constant_folding=True,
    follows_widening=True,
    before_first_layer=True,
    carries_uint8=True,
    trained_quantized=True,
)
_ARITHMETIC = Traits(
    joins=True, elementwise=True, constant_folding=True, follows_widening=True, before_first_layer=True
)
_SMOOTH = Traits(keeps_shape=True, elementwise=True, constant_folding=True, follows_widening=True)
_LOCAL_POOL = Traits(keeps_zero_channels=True, follows_widening=True, carries_uint8=True)

OPERATORS: Mapping[str, Traits] = {
    "Conv": Traits(weight_input=1, float_layer=True, bias_input=2, removable_channels=True, bf16_kernels=True),
    "ConvTranspose": Traits(weight_input=1, float_layer=True, bias_input=2),
    "Gemm": Traits(
        weight_input=1,
        float_layer=True,
        bias_input=2,
        constant_folding=True,
        removable_channels=True,
        bf16_kernels=True,
    ),
    "MatMul": Traits(
        weight_input=1, float_layer=True, constant_folding=True, removable_channels=True, bf16_kernels=True
    ),
    **_each("ConvInteger MatMulInteger FusedConv FusedGemm FusedMatMul", Traits(weight_input=1)),
    **_each("QLinearConv QLinearMatMul QGemm", Traits(weight_input=3)),
    **_each("GRU RNN", Traits(parameter_inputs=(1, 2, 3))),
    "LSTM": Traits(parameter_inputs=(1, 2, 3, 7)),
    "BatchNormalization": Traits(
        parameter_inputs=(1, 2, 3, 4),
        keeps_shape=True,
        float_inputs=(0, 1, 2, 3, 4),
        first_output_only=True,
        follows_widening=True,
        before_first_layer=True,
        folded_as="batch norms",
    ),
    "InstanceNormalization": Traits(parameter_inputs=(1, 2), keeps_shape=True, before_first_layer=True),
    **_each("GroupNormalization LayerNormalization", Traits(parameter_inputs=(1, 2), keeps_shape=True)),
    "QuantizeLinear": _CONVERSION,
    "DequantizeLinear": replace(_CONVERSION, dequantizes=True),
    "Cast": Traits(keeps_shape=True, constant_folding=True, before_first_layer=True),
    **_each("ReorderInput ReorderOutput", Traits(inserted_by_runtime=True)),
    "Identity": Traits(
        view=True,
        moves_no_value=True,
        keeps_shape=True,
        keeps_zero_channels=True,
        constant_folding=True,
        follows_widening=True,
        before_first_layer=True,
    ),
    "Dropout": Traits(
        keeps_shape=True, moves_no_value=True, first_output_only=True, follows_widening=True, before_first_layer=True
    ),
    **_each(
        "Reshape Squeeze Unsqueeze",
        Traits(view=True, moves_no_value=True, feature_inputs=(0,), constant_folding=True),
    ),
    "Flatten": Traits(view=True, moves_no_value=True, constant_folding=True, follows_widening=True),
    "Transpose": Traits(view=True, constant_folding=True, inserted_by_runtime=True),
    "Relu": replace(_RELU, keeps_zero_channels=True),
    "Clip": replace(_RELU, float_inputs=(0, 1, 2)),
    "LeakyRelu": Traits(
        keeps_shape=True, elementwise=True, keeps_zero_channels=True, follows_widening=True, carries_uint8=True
    ),
    "HardSwish": Traits(keeps_shape=True, elementwise=True, keeps_zero_channels=True, follows_widening=True),
    "PRelu": Traits(parameter_inputs=(1,), keeps_shape=True),
    "Sigmoid": _SMOOTH,
    "Tanh": replace(_SMOOTH, keeps_zero_channels=True),
    **_each("HardSigmoid Softplus", replace(_SMOOTH, constant_folding=False)),
    "Elu": replace(_SMOOTH, constant_folding=False, keeps_zero_channels=True),
    **_each(
        "Celu Gelu Mish Selu Softsign ThresholdedRelu",
        Traits(keeps_shape=True, elementwise=True, keeps_zero_channels=True),
    ),
    **_each(
        "Abs Ceil Erf Floor Neg Round Sin Sqrt",
        Traits(keeps_shape=True, elementwise=True, constant_folding=True, keeps_zero_channels=True),
    ),
    **_each("Cos Exp Log Reciprocal", Traits(keeps_shape=True, elementwise=True, constant_folding=True)),
    "Softmax": Traits(keeps_shape=True, constant_folding=True),
    "MaxPool": replace(_LOCAL_POOL, keeps_range=True, first_output_only=True, trained_quantized=True),
    "AveragePool": replace(_LOCAL_POOL, keeps_range=True),
    "GlobalAveragePool": _LOCAL_POOL,
    "GlobalMaxPool": Traits(keeps_zero_channels=True, follows_widening=True),
    "Resize": Traits(
        keeps_range=True,
        feature_inputs=(0,),
        follows_widening=True,
        before_first_layer=True,
        carries_uint8=True,
        trained_quantized=True,
    ),
    "Pad": Traits(
        float_inputs=(0, 2), feature_inputs=(0,), constant_folding=True, follows_widening=True, before_first_layer=True
    ),
    **_each("Slice Split", Traits(feature_inputs=(0,), constant_folding=True, follows_widening=True)),
    "Add": replace(
        _ARITHMETIC,
        joins_zero_channels=True,
        carries_uint8=True,
        trained_quantized=True,
        folded_as="per-channel additions",
    ),
    "Sub": replace(_ARITHMETIC, joins_zero_channels=True, folded_as="per-channel subtractions"),
    "Mul": replace(_ARITHMETIC, joins_zero_channels=True, folded_as="per-channel multiplications"),
    "Div": replace(_ARITHMETIC, folded_as="per-channel divisions"),
    **_each(
        "Max Min Sum",
        Traits(joins=True, joins_zero_channels=True, elementwise=True, constant_folding=True, follows_widening=True),
    ),
    "Concat": Traits(joins=True, constant_folding=True, follows_widening=True, carries_uint8=True),
    "Pow": Traits(elementwise=True, constant_folding=True),
    **_each(
        "CumSum Expand Gather GatherElements GatherND Tile Trilu", Traits(feature_inputs=(0,), constant_folding=True)
    ),
    "Compress": Traits(feature_inputs=(0,), picks=True),
    **_each("GridSample MaxRoiPool RoiAlign Upsample", Traits(feature_inputs=(0,))),
    **_each("ScatterElements ScatterND", Traits(feature_inputs=(0, 2), constant_folding=True)),
    "Where": Traits(feature_inputs=(1, 2), constant_folding=True),
    **_each(
        "And Equal Greater GreaterOrEqual Less LessOrEqual Not Or Size Xor",
        Traits(feature_inputs=(), constant_folding=True),
    ),
    "Shape": Traits(feature_inputs=(), moves_no_value=True, constant_folding=True),
    **_each("IsInf IsNaN", Traits(feature_inputs=())),
    **_each("ArgMax ArgMin NonMaxSuppression NonZero TopK", Traits(feature_inputs=(), picks=True)),
    **_each(
        "CastLike ConstantOfShape DepthToSpace Mean Mod Range ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin "
        "ReduceProd ReduceSum ReduceSumSquare Sign SpaceToDepth",
        Traits(constant_folding=True),
    ),
}
"""The traits of each operator that has some."""

_NONE = Traits()


def traits_of(op_type: str) -> Traits:
    """The traits of an operator by its name; those of an unknown operator are all unset."""
    return OPERATORS.get(op_type, _NONE)


def operators_with(trait: Callable[[Traits], object]) -> tuple[str, ...]:
    """Names of the operators for which `trait` is true, in the order of the table."""
    return tuple(name for name, traits in OPERATORS.items() if trait(traits))
