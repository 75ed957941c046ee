"""What operators cost on one machine: rates that the planner and predictions of speed use."""

from functools import cache
from typing import Annotated

from pydantic import Field

from lth_deploy.config import strict_yaml
from lth_deploy.config.bundled import target_file, target_names
from lth_deploy.config.validation import Section, validate

BUNDLED = "epyc_zen4"
"""The bundled target whose table is taken where none fits."""

WORSE = 1.5
"""How many times as far as small networks models are off that no table was fitted to."""

Multiplications = Annotated[float, Field(gt=0, le=100_000)]
"""Billions a second, on one thread; no processor reaches the bound."""

MOST_NANOSECONDS = 100_000.0
"""For one of any amount; a table with more was not measured."""

Nanoseconds = Annotated[float, Field(ge=0, le=MOST_NANOSECONDS)]
"""For one value or multiplication."""


class Rates(Section):
    """Speed of a class of layers on one thread, in billions of multiplications a second.

    dense: over all weights, in a stock runtime. sparse: over the non-zero ones, in the kernels, where there are many.
    With k of them left between an input and an output channel, on average, and n output channels, a layer takes
    1 + traffic / k + packing / (k n) times as long: for the sums that go to and fro, and for copying its inputs. Of
    depthwise layers k counts zeros too.
    """

    dense: Multiplications
    sparse: Multiplications
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

    cpu, isa: the processor that it was fitted on, and the instruction set of the kernels; family, instructions: maker
    and design of the processor, and its instruction sets, since names of processors are not unique; fitted: the day,
    and the engines. kernels, stock: nanoseconds for one of each amount, in the kernels and in stock ONNX Runtime, see
    `compiler/planning/amounts.py`; a table that has them predicts whole models, and its other rates are of no use.
    tiles_l2: bytes of the L2 cache, where kernels multiply int8 and bf16 by matrix tiles: the form of a layer
    depends on it. None of other processors.
    error: how far a predicted ratio is off, as a share of it, on most models that the table was not fitted to.

    The other defaults are those of one core of an AMD EPYC with AVX-512 (Zen 4); other machines differ less in the
    ratio of sparse to dense than in either. export/epyc_avx2.yaml has a machine without AVX-512.
    """

    cpu: str = ""
    isa: str = ""
    family: str = ""
    instructions: list[str] = Field(default_factory=list)
    fitted: str = ""
    tiles_l2: Annotated[int, Field(gt=0)] | None = None
    error: Annotated[float, Field(gt=0, le=1)] | None = None
    kernels: dict[str, Nanoseconds] = Field(default_factory=dict)
    stock: dict[str, Nanoseconds] = Field(default_factory=dict)
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

    @property
    def predicts_whole_models(self) -> bool:
        """Whether it has a rate for each operator, not for layers alone."""
        return bool(self.kernels and self.stock)


class _TableOfTarget(Section):
    """The part of a target that is read here."""

    name: str
    costs: CostTable


@cache
def _bundled_table(name: str) -> CostTable | None:
    """The table of a bundled target; None where it has none."""
    document = strict_yaml.load(target_file(name))
    has_table = isinstance(document.value, dict) and "costs" in document.value
    return validate(_TableOfTarget, document).costs if has_table else None


def bundled_costs() -> dict[str, CostTable]:
    """The tables that come with the package and predict whole models, by the names of their targets."""
    tables = {name: _bundled_table(name) for name in target_names()}
    return {name: table for name, table in tables.items() if table is not None and table.predicts_whole_models}


def default_costs() -> CostTable:
    """The bundled table that is taken where none fits."""
    table = _bundled_table(BUNDLED)
    assert table is not None
    return table
