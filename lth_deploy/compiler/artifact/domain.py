"""Names that the packed file uses: our ONNX domain and the operators in it."""

from lth_deploy.formats import CODERS, FORMATS

DOMAIN = "com.lth_deploy"
DOMAIN_VERSION = 1

METADATA_KEY = "lth_deploy"
"""Key of the one metadata entry that an artifact carries."""

MIN_OPSET = 13
"""Lowest opset of the standard domain in which the function bodies mean what they should."""

MIN_IR_VERSION = 8
"""Lowest version of the file format that knows model-local functions."""


def operator_of(coding: str, int8: bool = False) -> str:
    """The operator that decodes a coding: `gaps4` gives `UnpackGaps4`, or `UnpackGaps4Int8`.

    `bitmask:2x4` gives `UnpackBitmaskBlocks2x4`.
    """
    name, _, block = coding.partition(":")
    return f"Unpack{name[0].upper()}{name[1:]}{block and f'Blocks{block}'}{'Int8' if int8 else ''}"


_CODINGS = {operator_of(name, int8): (name, int8) for name in FORMATS if name != "dense" for int8 in (False, True)}


def coding_of(operator: str) -> tuple[str, bool] | None:
    """The coding that an operator of our domain decodes, and whether to int8; None for an unknown operator."""
    return _CODINGS.get(operator)


_ARRAYS = {coder.name: coder.array for coder in CODERS}


def position_input(coding: str) -> str:
    """Name of the array that holds the positions of a coding."""
    return _ARRAYS[coding.partition(":")[0]]


MAX_REGIONS = 64
"""Most regions of a file: each has an operator name of its own, and a kernel library registers these."""


def region_name(number: int) -> str:
    """The operator of a region: `Region0` to `Region63`."""
    return f"Region{number}"


ROI_ALIGN = "RoiAlign"
"""The operator that pools boxes from an image, as the standard one of this name does."""

REGION_NAMES = frozenset(region_name(number) for number in range(MAX_REGIONS))
