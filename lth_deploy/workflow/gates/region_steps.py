"""A region instruction by instruction: the kernels and its function, each against the oracle on their own bytes.

End to end, rounding a sum once instead of twice may move outputs by any number of steps: one byte that falls to the
other side moves its neighbors in the next layer. So every instruction is judged by itself, on what reached it: the
kernels must make of it what the program says, and a stock runtime what the function says, bit for bit up to what
float32 cannot decide. That both say the same is a comparison of texts. See export/REGION.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Feeds
from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle.reference import run
from lth_deploy.kernels.program.instruction import Accumulate, Instruction, Operands
from lth_deploy.kernels.program.numerics.bounds import Float, Tensor
from lth_deploy.kernels.program.ops.conv import QConv
from lth_deploy.kernels.program.ops.conv_transpose import QConvTranspose
from lth_deploy.kernels.program.ops.load import AnyLoad
from lth_deploy.kernels.program.ops.resize import Resize, Upsample
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.rules import check
from lth_deploy.kernels.program.values import Quantized
from lth_deploy.runtimes import RUNTIMES, Session

if TYPE_CHECKING:
    from onnx import ModelProto

    from lth_deploy.compiler.artifact.extract_region import ExtractedRegion
    from lth_deploy.compiler.regions.codegen.traced_function import Traced

Array = npt.NDArray[Any]

MOST = 16
"""Images of a batch that are looked at; those behind them are computed by the same instructions."""

_TRANSFORMED = 1e-6
"""Of the largest value: what sums in a transformed domain may be off by, beyond three more bounds of plain ones."""

_DENORMAL = 1e-37
"""Below this a float32 may be flushed to zero."""


@dataclass(frozen=True)
class Stock:
    """How a stock runtime computes on this machine.

    exact: whether its own int8 kernels never saturate. floats: relative difference that is rounding where no bound of
    an operator is known.
    """

    exact: bool
    floats: float


@dataclass(frozen=True)
class _Function:
    """A region's function, traced and loaded for shapes of activations. tensors: what the session returns, by place."""

    traced: "Traced"
    session: Session
    tensors: tuple[int, ...]

    def run(self, feeds: Feeds) -> dict[int, Array]:
        """What its operators make, by the number of the tensor that each is in the unfused program."""
        return dict(zip(self.tensors, self.session.run(feeds).values(), strict=True))


@dataclass
class SteppedRegion:
    """A region that is looked at on several inputs: what depends on their shapes alone is made once.

    folder: for files that nobody keeps.
    """

    region: "ExtractedRegion"
    folder: Path
    stock: Stock
    _functions: dict[tuple[tuple[int, ...], ...], _Function | str] = field(default_factory=dict)

    def wrong_step(self, feeds: Feeds) -> str | None:
        """In words the first instruction that is computed wrong on `feeds`, its activations; None without any.

        Raises:
            ArtifactError: an engine fails, or the function is none of a region.
        """
        region = self.region
        assert region.program is not None
        feeds = {name: value[:MOST] for name, value in feeds.items()}
        shapes = tuple(feeds[name].shape for name in region.inputs)
        if shapes not in self._functions:
            self._functions[shapes] = self._function(dict(zip(region.inputs, shapes, strict=True)))
        function = self._functions[shapes]
        if isinstance(function, str):
            return function
        traced = function.traced
        unfused_inputs = [*traced.unfused.activations, *traced.unfused.arrays]
        steps = _Steps(
            traced.unfused.program, traced.weights(traced.unfused.program, unfused_inputs), feeds, unfused_inputs
        )
        found = steps.first_wrong(function.run(feeds), self.stock)
        if found is not None:
            return f"a stock runtime computes another {found}"
        names = list(region.model.graph.node[0].input)
        steps = _Steps(region.program, traced.weights(region.program, names), feeds, names)
        return steps.first_wrong(_of_kernels(region, feeds, self.folder), None)

    def exact(self, feeds: Feeds) -> dict[str, Float]:
        """The outputs by name, computed from end to end in double precision.

        Raises:
            ArtifactError: the function is none of a region.
        """
        from lth_deploy.compiler.regions.codegen.traced_function import trace

        region = self.region
        assert region.program is not None
        names = list(region.model.graph.node[0].input)
        weights = trace(region, {name: value.shape for name, value in feeds.items()}).weights(region.program, names)
        inputs = [feeds[name] for name in region.inputs]
        return dict(zip(region.outputs, run(region.program, [one for _, one in weights], inputs), strict=True))

    def _function(self, shapes: dict[str, tuple[int, ...]]) -> _Function | str:
        """The function for activations of these shapes; in words how it differs from the program, where it does."""
        from lth_deploy.compiler.regions.codegen.traced_function import difference, trace

        traced = trace(self.region, shapes)
        differing = difference(self.region, traced)
        if differing is not None:
            return differing
        unfused = traced.unfused
        return _Function(traced, *_loaded(traced.model, unfused.tensors, unfused.program, self.folder, self.stock))


def _loaded(
    model: "ModelProto", names: Sequence[str | None], program: Program, folder: Path, stock: Stock
) -> tuple[Session, tuple[int, ...]]:
    """The operators of a function with all that they make as outputs, and the numbers of these in `program`."""
    from onnx import TensorProto

    from lth_deploy.compiler.artifact.extract_region import with_outputs
    from lth_deploy.compiler.model.save import save_model
    from lth_deploy.compiler.regions.codegen.traced_function import in_floats

    made = check(program)
    wanted = {
        name: number
        for number, name in enumerate(names)
        if name is not None and not isinstance(program.instructions[number], AnyLoad)
    }
    types = {name: TensorProto.UINT8 for name, number in wanted.items() if made[number].quantized is not None}
    path = folder / "function.onnx"
    save_model(with_outputs(in_floats(model, every=not stock.exact), list(wanted), types), path)
    return RUNTIMES.get("onnxruntime").load(path, threads=1), tuple(wanted.values())


def _of_kernels(region: "ExtractedRegion", feeds: Feeds, folder: Path) -> dict[int, Array]:
    """What the kernels make, by tensor; bytes as the bytes that they return in floats.

    Raises:
        ArtifactError: looking at them changes what the region returns.
    """
    from lth_deploy.compiler.model.save import save_model
    from lth_deploy.compiler.regions.codegen.probed_region import probed

    assert region.program is not None
    engine, path = RUNTIMES.get("lth_deploy"), folder / "probed.onnx"
    made = check(region.program)
    save_model(region.model, path)
    returned = engine.load(path, threads=1).run(feeds)
    outputs = zip(region.program.outputs, region.outputs, strict=True)
    found = {output.tensor: returned[name] for output, name in outputs}
    for model, names in probed(region):
        save_model(model, path)
        values = engine.load(path, threads=1).run(feeds)
        for name in region.outputs:
            if not np.array_equal(values[name], returned[name], equal_nan=True):
                raise ArtifactError(f"'{name}' is another when inner tensors are returned beside it")
        found.update({number: _bytes(values[name], made[number].quantized) for number, name in names.items()})
    return found


def _bytes(value: Array, quantized: Quantized | None) -> Array:
    """The bytes that floats were read from; floats themselves where there are none."""
    if quantized is None:
        return value
    return np.asarray(np.rint(value.astype(np.float64) / float(np.float32(quantized.scale))) + quantized.zero)


def _as_planes(value: Array, rows: bool) -> Array:
    """[N, C, H, W], as the oracle has it; of rows 1 x 1 pixels, one plane for each row."""
    return value.reshape(-1, value.shape[-1], 1, 1) if rows else value


class _Steps:
    """A program with its weights and inputs; each instruction is computed on what an engine made before it."""

    def __init__(
        self, program: Program, weights: Sequence[tuple[str, Array]], feeds: Feeds, inputs: Sequence[str]
    ) -> None:
        self.program = program
        self.names = [name for name, _ in weights]
        self.weights = [np.asarray(weight, np.float64) for _, weight in weights]
        self.inputs = [feeds[name] for name in inputs[: program.inputs]]
        self.made = check(program)

    def first_wrong(self, found: dict[int, Array], stock: Stock | None) -> str | None:
        """In words the first tensor that is not what its instruction makes. stock: None of the kernels."""
        given: list[Tensor] = []
        for number, expected, quantized in self._expected(given, stock):
            value = found.get(number)
            if value is None:
                given.append(expected)
                continue
            computed = _as_planes(value, self.made[number].rows).astype(np.float64)
            if computed.shape != expected.value.shape:
                shapes = f"{list(computed.shape)} instead of {list(expected.value.shape)}"
                return f"{self._called(number)}: it has the shape {shapes}"
            with np.errstate(invalid="ignore"):
                off = np.abs(computed - expected.value)
            off[(computed == expected.value) | (np.isnan(computed) & np.isnan(expected.value))] = 0
            wrong = ~(off <= expected.bound + self._slack(number, expected, stock))
            if wrong.any():
                unit = "steps of its scale" if quantized is not None else "in float32"
                share = f"{np.count_nonzero(wrong)} of {wrong.size} values"
                return f"{self._called(number)}: {share} differ, by up to {np.max(off[wrong]):.3g} {unit}"
            given.append(Tensor(computed, np.zeros_like(computed), quantized))
        return None

    def _expected(self, given: list[Tensor], stock: Stock | None) -> Iterator[tuple[int, Tensor, Quantized | None]]:
        for number, step in enumerate(self.program.instructions):
            floats = stock is not None and (not stock.exact or step.stock_sums_floats)
            summed: Accumulate = "floats" if floats else "integers"
            # Functions round the weights to bf16, and the kernels what these are multiplied by as well.
            bf16 = self.program.bf16_weights if stock is None else frozenset()
            operands = Operands(given, self.weights, self.inputs, summed, bf16)
            try:
                result = step.oracle(operands)
            except ValueError as error:
                raise ArtifactError(f"region, t{number}: {error}") from error
            yield number, result, self.made[number].quantized

    def _slack(self, number: int, expected: Tensor, stock: Stock | None) -> Array | float:
        """What a bound does not cover: denormals, and of floats of a stock runtime that it may compute otherwise.

        Places between pixels are worked out in float32, and sums may be those of a transform.
        """
        if stock is None or expected.quantized is not None:
            return _DENORMAL
        step, largest = self.program.instructions[number], float(np.abs(expected.value).max(initial=0.0))
        if isinstance(step, Resize | Upsample) and step.linear is not None:
            return stock.floats * largest
        return 3 * expected.bound + _TRANSFORMED * largest + _DENORMAL

    def _called(self, number: int) -> str:
        step: Instruction = self.program.instructions[number]
        kind = type(step).__name__.lower()
        weight = getattr(step, "weight", None)
        of = f" with the weight '{self.names[weight]}'" if isinstance(weight, int) else ""
        kind = "convolution" if isinstance(step, QConv | QConvTranspose) else kind
        return f"t{number}, a {kind}{of}"
