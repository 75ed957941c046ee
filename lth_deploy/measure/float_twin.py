"""The time of an int8 file beside that of the dense model in both types."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FloatTwin:
    """Milliseconds on one thread: of an int8 file with the kernels, and of the dense model in int8 and in fp32.

    measured: on this machine; else predicted from a table of rates.
    """

    int8: float
    dense_int8: float
    dense_fp32: float
    measured: bool

    @property
    def int8_pays(self) -> bool:
        """Whether the file is faster than the dense model in fp32."""
        return self.int8 < self.dense_fp32

    def sentence(self) -> str:
        """The times, and what is better where int8 does not pay."""
        basis = "measured" if self.measured else "predicted"
        times = (
            f"{basis}: {self.int8:.2f} ms; the dense model takes {self.dense_int8:.2f} ms in int8 and "
            f"{self.dense_fp32:.2f} ms in fp32"
        )
        return times if self.int8_pays else f"--values fp32 would be faster here: {times}"

    def as_record(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
