"""How many bytes a model takes: as it is, compressed, and as coordinate lists."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

_ZSTD_LEVEL = 19


def zstd_bytes(data: bytes) -> int:
    """Length of `data` after zstd at level 19, what a careful download server would store."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return len(zstd.compress(data, level=_ZSTD_LEVEL))


def file_bytes(path: Path) -> tuple[int, int]:
    """Raw and zstd-compressed bytes of a file."""
    return path.stat().st_size, zstd_bytes(path.read_bytes())


def coo_bytes(shape: Sequence[int], nonzeros: int, value_bytes: int = 4) -> int:
    """Bytes of one tensor as ONNX's sparse_initializer: an int64 flat index with every value."""
    if nonzeros > math.prod(shape):
        raise ValueError(f"{nonzeros} nonzeros do not fit in a tensor of shape {tuple(shape)}")
    return nonzeros * (value_bytes + 8)
