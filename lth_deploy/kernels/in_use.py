"""Which kernels of the library this process would use, and the tuning that they would have."""

import ctypes
from dataclasses import dataclass
from pathlib import Path

from lth_deploy.errors import UsageError

_ROOM = 4096


@dataclass(frozen=True)
class KernelsInUse:
    """isa: the instruction set. tuning: the record of this processor, in the form that LTH_TUNING takes."""

    isa: str
    tuning: str


def kernels_in_use(library: Path) -> KernelsInUse | None:
    """What sessions with this library would use; None where it is older than the question, or does not load.

    Raises:
        UsageError: LTH_ISA or LTH_TUNING cannot be followed here.
    """
    try:
        describe = ctypes.CDLL(str(library)).LthDescribeKernels
    except (OSError, AttributeError):
        return None
    describe.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    text = ctypes.create_string_buffer(_ROOM)
    describe(text, _ROOM)
    isa, _, rest = text.value.decode(errors="replace").partition(" ")
    if isa == "error":
        raise UsageError(f"no session can use the kernels: {rest}")
    return KernelsInUse(isa, rest)
