"""The registry of formats; a new way to store positions is a file beside this and a line here."""

from lth_deploy.formats.base import Format
from lth_deploy.formats.bitmask import Bitmask
from lth_deploy.formats.dense import Dense
from lth_deploy.formats.gaps import WIDTHS, Gaps
from lth_deploy.formats.packed import Packed
from lth_deploy.formats.positions import PositionCoder
from lth_deploy.formats.steps import Steps
from lth_deploy.registry import Registry
from lth_deploy.structures import BLOCKS, INPUTS_FIRST

# Steps before the gaps: of two codings of the same size the one that loads faster is taken.
CODERS: tuple[PositionCoder, ...] = (Bitmask(), Steps(), *(Gaps(width) for width in WIDTHS))

FORMATS: Registry[Format] = Registry("format")
FORMATS.add("dense", Dense())
for _block in (*BLOCKS.values(), *INPUTS_FIRST):
    for _coder in CODERS:
        FORMATS.add(f"{_coder.name}{_block.suffix}", Packed(_coder, _block))
