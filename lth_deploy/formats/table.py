"""The registry of formats; a new one is a file beside this and a line here."""

from lth_deploy.formats.base import Format
from lth_deploy.formats.bitmask import Bitmask
from lth_deploy.formats.dense import Dense
from lth_deploy.formats.gaps import WIDTHS, Gaps
from lth_deploy.formats.steps import Steps
from lth_deploy.registry import Registry

FORMATS: Registry[Format] = Registry("format")
FORMATS.add("dense", Dense())
FORMATS.add("bitmask", Bitmask())
# Before the gaps: of two codings of the same size the one that loads faster is taken.
FORMATS.add("steps8", Steps())
for _width in WIDTHS:
    FORMATS.add(f"gaps{_width}", Gaps(_width))
