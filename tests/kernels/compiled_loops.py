"""The inner loops of compiled kernels, read off their disassembly: what a product costs, and what leaves registers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cross import run_program

_KERNEL = re.compile(r"^[0-9a-f]+ <(.*_r(?:ows|un)<.*)>:\n((?:.+\n)+)", re.M)
_INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t(?:\{vex\} )?(\S+)(.*)$", re.M)
_ALWAYS_LEAVE = {"jmp", "ret", "b", "br"}
_TARGET = re.compile(r"\b([0-9a-f]+) <")


@dataclass(frozen=True)
class Machine:
    """How one kind of machine writes what is looked for; jumps, products: beginnings of names; load: of a line."""

    objdump: str
    jumps: tuple[str, ...]
    products: tuple[str, ...]
    stack: str
    load: re.Pattern[str] | None = None


AARCH64 = Machine("aarch64-linux-gnu-objdump", ("b.", "cb"), ("fmla",), "[sp")
# A vector as destination, and before it an address, of which no single number is spread.
_LOAD = re.compile(r"^v(?!broadcast|pbroadcast).*\(%[^{]*,%[yz]mm\d+$")
X86_64 = Machine("objdump", ("j",), ("vfmadd", "vpdpbusd"), "rsp", _LOAD)


@dataclass(frozen=True)
class Loop:
    """How many instructions it has; how many of them are products, read or write the stack, and load whole lines."""

    instructions: int
    products: int
    spills: int
    loads: int


def inner_loops(objects: Path, machine: Machine) -> dict[str, list[Loop]]:
    """For every kernel its innermost loops that multiply."""
    found: dict[str, list[Loop]] = {}
    for name, body in _KERNEL.findall(run_program([machine.objdump, "-dC", "--no-show-raw-insn", objects])):
        lines = _INSTRUCTION.findall(body)
        short = name.replace("lth::(anonymous namespace)::", "").split("(")[0]
        for start, end in _innermost(lines, machine):
            words = [word for _, word, _ in lines[start : end + 1]]
            products = sum(word.startswith(machine.products) for word in words)
            spills = sum(machine.stack in rest for _, _, rest in lines[start : end + 1])
            loads = sum(_matches(machine.load, word + rest) for _, word, rest in lines[start : end + 1])
            if products:
                found.setdefault(short, []).append(Loop(len(words), products, spills, loads))
    return found


def _matches(pattern: re.Pattern[str] | None, instruction: str) -> bool:
    return pattern is not None and pattern.search(instruction.strip()) is not None


def _innermost(lines: Sequence[tuple[str, str, str]], machine: Machine) -> list[tuple[int, int]]:
    """First and last line of each loop, a jump back that its own start can reach, that holds no other."""
    at = {int(address, 16): number for number, (address, _, _) in enumerate(lines)}
    jumps = {}
    for number, (_, word, rest) in enumerate(lines):
        jump = word.startswith(machine.jumps) or word in _ALWAYS_LEAVE
        target = _TARGET.search(rest) if jump else None
        if target:
            jumps[number] = at.get(int(target[1], 16), len(lines))
    loops = [(start, end) for end, start in jumps.items() if start < end and _reaches(start, end, lines, jumps)]
    return [
        one for one in loops if not any(one != other and one[0] <= other[0] < other[1] <= one[1] for other in loops)
    ]


def _reaches(start: int, end: int, lines: Sequence[tuple[str, str, str]], jumps: Mapping[int, int]) -> bool:
    """Whether a path from `start` to `end` stays between them: compilers jump back from rare code without a loop."""
    seen: set[int] = set()
    waiting = [start]
    while waiting:
        line = waiting.pop()
        if line in seen or not start <= line <= end:
            continue
        seen.add(line)
        if line in jumps:
            waiting.append(jumps[line])
        if lines[line][1] not in _ALWAYS_LEAVE:
            waiting.append(line + 1)
    return end in seen


def spilling(kernels: dict[str, list[Loop]]) -> list[str]:
    """Kernels with a loop that touches the stack."""
    return [name for name, loops in kernels.items() if any(loop.spills for loop in loops)]


def spent(kernels: dict[str, list[Loop]], start: str) -> float:
    """Instructions a product, the product included, in the best loop of the only kernel of this name."""
    (name,) = (name for name in kernels if start in name)
    return min(loop.instructions / loop.products for loop in kernels[name])
