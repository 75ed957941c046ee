"""What the figures were measured on."""

import os
import platform
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict

from lth_deploy.documents import IfMissing, StrictSection

_ISA_WORDS = (
    *("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni"),
    *("avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2"),
)
"""Instruction sets that decide how fast a matrix kernel can be, under Linux's names for them."""

_VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}


class Machine(StrictSection):
    """CPU model, cores that this process may use, instruction sets, system, memory in bytes.

    Unknown, as a tolerant reader may find them: empty texts and 0.
    """

    model_config = ConfigDict(extra="ignore")

    cpu: Annotated[str, IfMissing("")]
    cores: Annotated[int, IfMissing(0)]
    isa: Annotated[list[str], IfMissing([])]
    os: Annotated[str, IfMissing("")]
    memory: Annotated[int, IfMissing(0)]

    @property
    def exact_u8s8(self) -> bool:
        """Whether u8 x s8 products are summed without 16-bit saturation (VNNI, or any ARM)."""
        return bool(_VNNI & set(self.isa)) or platform.machine() in ("aarch64", "arm64")


def describe_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> Machine:
    """This machine."""
    import psutil

    model, flags = _read_cpuinfo(cpuinfo)
    return Machine(
        cpu=model or platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        isa=[word for word in _ISA_WORDS if word in flags],
        os=_operating_system(),
        memory=int(psutil.virtual_memory().total),
    )


def _operating_system() -> str:
    """As `platform.platform()` has it, which starts a program, `uname`, to learn what is not in the text."""
    if not hasattr(os, "uname"):
        return platform.platform()
    system, library = os.uname(), "".join(platform.libc_ver())
    return "-".join(filter(None, [system.sysname, system.release, system.machine, library and f"with-{library}"]))


def _read_cpuinfo(path: Path) -> tuple[str, set[str]]:
    """Model name and flags of the first core; ARM kernels give 'Features' and often no model name."""
    model, flags = "", set[str]()
    if not path.exists():
        return model, flags
    for line in path.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and not model:
            model = value.strip()
        elif key.strip() in ("flags", "Features") and not flags:
            flags = set(value.split())
    return model, flags
