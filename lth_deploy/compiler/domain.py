"""Names that the packed file uses: our ONNX domain and the operators in it."""

from lth_deploy.formats import FORMATS

DOMAIN = "com.lth_deploy"
DOMAIN_VERSION = 1

METADATA_KEY = "lth_deploy"
"""Key of the one metadata entry that an artifact carries."""

MIN_OPSET = 13
"""Lowest opset of the standard domain in which the function bodies mean what they should."""

MIN_IR_VERSION = 8
"""Lowest version of the file format that knows model-local functions."""

_OPERATORS = {name: f"Unpack{name[0].upper()}{name[1:]}" for name in FORMATS if name != "dense"}
_CODINGS = {operator: name for name, operator in _OPERATORS.items()}


def operator_of(coding: str) -> str:
    """The operator that decodes a coding: `gaps4` gives `UnpackGaps4`."""
    return _OPERATORS[coding]


def coding_of(operator: str) -> str | None:
    """The coding that an operator of our domain decodes; None for an unknown operator."""
    return _CODINGS.get(operator)


def position_input(coding: str) -> str:
    """Name of the array that holds the positions of a coding."""
    return {"bitmask": "bits", "steps8": "steps"}.get(coding, "gaps")


MAX_REGIONS = 64
"""Most regions of a file: each has an operator name of its own, and a kernel library registers these."""


def region_name(number: int) -> str:
    """The operator of a region: `Region0` to `Region63`."""
    return f"Region{number}"


REGION_NAMES = frozenset(region_name(number) for number in range(MAX_REGIONS))
