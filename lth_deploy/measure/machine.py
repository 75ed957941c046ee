"""What the figures were measured on."""

import os
import platform
from collections.abc import Mapping
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

_FAMILY = (("vendor_id", "CPU implementer"), ("cpu family", "CPU part"))
"""What tells designs of processors apart, under Linux's names on x86 and on Arm."""

_VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}


class Machine(StrictSection):
    """CPU model, cores that this process may use, instruction sets, system, memory in bytes.

    family: who made the processor, and which design it is; its name may say neither, as that of a virtual machine.
    Unknown, as a tolerant reader may find them: empty texts and 0.
    """

    model_config = ConfigDict(extra="ignore")

    cpu: Annotated[str, IfMissing("")]
    cores: Annotated[int, IfMissing(0)]
    isa: Annotated[list[str], IfMissing([])]
    os: Annotated[str, IfMissing("")]
    memory: Annotated[int, IfMissing(0)]
    family: Annotated[str, IfMissing("")] = ""

    @property
    def exact_u8s8(self) -> bool:
        """Whether u8 x s8 products are summed without 16-bit saturation (VNNI, or any ARM)."""
        return bool(_VNNI & set(self.isa)) or platform.machine() in ("aarch64", "arm64")


def describe_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> Machine:
    """This machine."""
    import psutil

    facts = _read_cpuinfo(cpuinfo)
    flags = set(_first(facts, "flags", "Features").split())
    return Machine(
        cpu=_first(facts, "model name") or platform.machine(),
        family=" ".join(filter(None, (_first(facts, *names) for names in _FAMILY))),
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


def _read_cpuinfo(path: Path) -> dict[str, str]:
    """What is said of the first core, by Linux's names."""
    facts: dict[str, str] = {}
    if not path.exists():
        return facts
    for line in path.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    return facts


def _first(facts: Mapping[str, str], *names: str) -> str:
    return next((facts[name] for name in names if facts.get(name)), "")
