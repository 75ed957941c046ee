"""The networks that rates are fitted to: few, small, and with the layers of detectors in them.

Together they have every operator that has a rate, at several sizes, so that no two rates explain the same times.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lth_deploy.structures import BLOCKS, SINGLE, Block
from lth_deploy.workflow.measure_costs.probe_graph import ACTIVATIONS, ProbeGraph


@dataclass(frozen=True)
class Probe:
    """A network: its name, its input, whether it is quantized, the zeros of its layers, and whether it is bf16."""

    name: str
    build: Callable[[ProbeGraph], None]
    channels: int
    size: int
    quantized: bool
    zeros: float
    block: Block
    bf16: bool = False

    def graph(self) -> ProbeGraph:
        """The network."""
        made = ProbeGraph(
            self.channels,
            self.size,
            quantized=self.quantized,
            zeros=self.zeros,
            block=self.block,
            tokens=self.build is _tokens,
        )
        self.build(made)
        return made


def probes(*, bf16: bool = False, tiles: bool = False) -> Iterator[Probe]:
    """All of them, fp32 first.

    bf16: whether the processor has instructions for it. tiles: whether the kernels multiply by matrix tiles, which
    compute layers dense unless most of their weights are zeros, and gather blocks of many outputs.
    """
    floats = ((0.5, SINGLE), (0.8, SINGLE), (0.95, SINGLE))
    quantized = ((0.0, SINGLE), (0.9 if tiles else 0.7, BLOCKS["in4"]), (0.95, BLOCKS["in4"]))
    for is_quantized, masks in ((False, floats), (True, quantized)):
        for name, build, channels, size in _NETWORKS:
            for zeros, block in masks[:1] if build is _large else masks:
                yield Probe(name, build, channels, size, is_quantized, zeros, block)
        for name, build, channels, size in _OPERATORS:
            yield Probe(name, build, channels, size, is_quantized, 0.5, SINGLE if not is_quantized else BLOCKS["in4"])
    yield Probe("odd", _odd, 3, 160, False, 0.8, SINGLE)
    for zeros, size in ((0.5, 16), (0.9, 16), (0.8, 32)):
        yield Probe("tokens", _tokens, 192, size, False, zeros, SINGLE)
    yield Probe("residual", _residual, 3, 160, False, 0.8, BLOCKS["out2"])
    yield Probe("residual", _residual, 3, 160, True, 0.9 if tiles else 0.8, BLOCKS["2x4"])
    if tiles:
        yield from _in_tiles(bf16=False)
    if bf16:
        yield from _in_bf16(tiles=tiles)


def _in_bf16(*, tiles: bool) -> Iterator[Probe]:
    """Full layers, blocks, and single weights, of which most have a neighbor of zero."""
    few = ((0.97, BLOCKS["in4"]),) if tiles else ((0.8, BLOCKS["in4"]), (0.8, SINGLE))
    masks = ((0.0, SINGLE), *few)
    for name, build, channels, size in _NETWORKS[:3]:
        for zeros, block in masks:
            yield Probe(name, build, channels, size, False, zeros, block, bf16=True)
    yield Probe("residual", _residual, 3, 160, False, 0.97 if tiles else 0.9, BLOCKS["2x4"], bf16=True)
    yield Probe("tokens", _tokens, 192, 16, False, 0.0, SINGLE, bf16=True)
    if tiles:
        yield from _in_tiles(bf16=True)


def _in_tiles(*, bf16: bool) -> Iterator[Probe]:
    """Blocks of outputs, and full layers on planes that are large beside their weights."""
    for block, zeros in (("16x4", 0.8), ("32x4", 0.9)):
        yield Probe("residual", _residual, 3, 160, not bf16, zeros, BLOCKS[block], bf16=bf16)
    yield Probe("split", _split, 3, 160, not bf16, 0.8, BLOCKS["16x4"], bf16=bf16)
    yield Probe("residual", _residual, 3, 320, not bf16, 0.0, SINGLE, bf16=bf16)


def quick_probes() -> Iterator[Probe]:
    """A few that tell processors apart: few and many channels, fp32 and int8."""
    for is_quantized, block in ((False, SINGLE), (True, BLOCKS["in4"])):
        for name, build, channels, size in _NETWORKS[:2]:
            yield Probe(name, build, channels, size, is_quantized, 0.8, block)


def _residual(g: ProbeGraph) -> None:
    """A stem, blocks with shortcuts, and a step of a pyramid."""
    x = g.conv(g.x, 32, 7, 2)
    x = g.conv(g.pool(x, "MaxPool", 3, 2), 64, 3)
    x = g.act(g.add(g.conv(g.conv(x, 64, 3), 64, 3, act=""), x), "Relu")
    x = g.conv(x, 128, 3, 2)
    fine = g.act(g.add(g.conv(g.conv(x, 128, 3), 128, 3, act=""), x), "Relu")
    x = g.conv(g.conv(fine, 256, 3, 2), 256, 3)
    coarse = g.conv(g.conv(x, 512, 3, 2), 256, 1, act="")
    g.output_conv(g.add(g.double(g.conv(x, 128, 1, act="")), g.conv(fine, 128, 1, act="")), 128, 3)
    g.output_conv(coarse, 256, 3)


def _mobile(g: ProbeGraph) -> None:
    """Pointwise and depthwise layers of few channels."""
    x = g.conv(g.x, 16, 3, act="silu")
    x = g.conv(g.conv(x, 16, 3, 2, groups=16, act="silu"), 32, 1, act="silu")
    for channels, stride in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2)):
        x = g.conv(g.conv(x, channels, 1, act="silu"), channels, 3, stride, groups=channels, act="silu")
    x = g.conv(x, 128, 1, act="silu")
    x = g.conv(g.concat(x, *(g.pool(x, "MaxPool", kernel, 1) for kernel in (5, 9))), 256, 1, act="silu")
    g.output(g.conv(x, 85, 1, act="Sigmoid"))


def _split(g: ProbeGraph) -> None:
    """Blocks that split and join channels, with 3x3 layers of few channels."""
    x = g.conv(g.conv(g.x, 32, 3, 2, act="silu"), 64, 1, act="silu")
    for channels in (64, 128):
        first, second = g.halves(x)
        inner = g.conv(g.conv(second, channels // 2, 3, act="silu"), channels // 2, 3, act="")
        inner = g.act(inner, "silu", rounded=channels == 64)
        x = g.conv(g.concat(first, second, g.add(second, inner)), channels, 1, act="silu")
        x = g.conv(x, 2 * channels, 3, 2, act="silu")
    g.output_conv(x, 80, 1)


def _deep(g: ProbeGraph) -> None:
    """Inverted bottlenecks with gates: many small operators, whose code and constants are cold when each begins."""
    x = g.conv(g.x, 16, 3, 2, act="HardSwish")
    for wide, outputs, kernel, stride, gated in _BOTTLENECKS:
        act = "HardSwish" if kernel == 3 else "Relu"
        y = g.conv(g.conv(x, wide, 1, act=act), wide, kernel, stride, groups=wide, act=act)
        y = g.conv(g.gate(y) if gated else y, outputs, 1, act="")
        x = g.add(x, y) if stride == 1 and g.channels(x) == outputs else y
    g.output(g.conv(x, 128, 1, act="HardSwish"))


def _large(g: ProbeGraph) -> None:
    """Tensors that do not fit a cache: the first layers on a large image."""
    x = g.conv(g.conv(g.x, 16, 3, 2, act="silu"), 32, 3, 2, act="silu")
    first, second = g.halves(x)
    x = g.conv(g.concat(first, second, g.add(second, g.conv(second, 16, 3, act="silu"))), 32, 1, act="silu")
    x = g.conv(g.conv(x, 32, 3, groups=32), 64, 1)
    g.output(g.conv(g.conv(x, 64, 3, 2, groups=64, act="silu"), 64, 1, act=""))


def _pools(g: ProbeGraph) -> None:
    """Pools of several windows, gates, sizes that change, joined channels, layers in groups."""
    x = g.conv(g.x, 64, 1)
    y = g.conv(g.concat(x, *(g.pool(x, "MaxPool", kernel, 1) for kernel in (3, 5, 9))), 64, 1)
    small = g.conv(g.pool(g.pool(y, "AveragePool", 5, 1), "AveragePool", 3, 2), 64, 1)
    small = g.conv(g.gate(small), 64, 5, groups=64)
    soft = g.conv(g.double(small, "linear"), 64, 1)
    z = g.conv(g.concat(g.double(small), y, soft), 128, 1)
    z = g.conv(g.conv(g.pad(z), 128, 3, groups=32), 64, 1)
    g.output(g.conv(g.conv(z, 64, 3, 2, groups=2), 32, 1, act=""))


def _odd(g: ProbeGraph) -> None:
    """Channels that fill no block, as where dead ones were removed: the stock runtime leaves their layout as it is."""
    x = g.conv(g.conv(g.conv(g.x, 26, 3, 2), 42, 3), 26, 1)
    x = g.conv(g.conv(g.conv(x, 74, 3, 2), 122, 1), 42, 3)
    x = g.conv(g.conv(g.conv(x, 202, 1), 74, 3, 2), 122, 3)
    g.output_conv(x, 362, 1)


def _activations(g: ProbeGraph) -> None:
    """One layer before each activation, and activations by themselves."""
    x = g.conv(g.x, 32, 1)
    for kind in (*ACTIVATIONS, "silu"):
        x = g.conv(x, 32, 1, act=kind)
    for kind in ("LeakyRelu", "silu", "Sigmoid"):
        before = g.conv(x, 32, 1, act="")
        x = g.conv(g.multiply(before, g.act(before, kind)), 32, 1)
    g.output(x)


def _tokens(g: ProbeGraph) -> None:
    """Feed-forward layers of a transformer."""
    x = g.norm(g.product(g.x, 256))
    for width in (512, 1024):
        x = g.norm(g.add(x, g.product(g.product(x, width, act="Relu"), 256)))
    g.output(x)


_BOTTLENECKS = (
    (16, 16, 3, 1, False),
    (64, 24, 3, 2, False),
    (72, 24, 3, 1, False),
    (72, 40, 5, 2, True),
    *((120, 40, 5, 1, True),) * 2,
    (240, 80, 3, 2, False),
    *((200, 80, 3, 1, False),) * 3,
    *((480, 112, 3, 1, True),) * 2,
    (672, 160, 5, 2, True),
    *((640, 160, 5, 1, True),) * 2,
)
"""Channels inside and behind, kernel, stride, and whether there is a gate: as in MobileNetV3."""

_Network = tuple[str, Callable[[ProbeGraph], None], int, int]
_NETWORKS: tuple[_Network, ...] = (
    ("residual", _residual, 3, 160),
    ("mobile", _mobile, 12, 104),
    ("split", _split, 3, 160),
    ("deep", _deep, 3, 256),
    ("large", _large, 3, 640),
)
_OPERATORS: tuple[_Network, ...] = (("pools", _pools, 64, 40), ("activations", _activations, 32, 52))
