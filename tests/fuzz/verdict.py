"""What an ending means: allowed, or a fault of one of a few kinds, grouped by where it happened."""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from tests.fuzz.case import Case
from tests.fuzz.child import CRASHED, Ending, Limits

LONGEST_MESSAGE = 3000
_ERROR = re.compile(r"^error: ", re.MULTILINE)
_FRAME = re.compile(r'File "([^"]*)", line (\d+),? in (\S+)')
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DISK = "error: the system refused"
_NO_MEMORY = "error: the memory of this machine"
# What a task's own exceptions, and graphs that no pass foresaw, are turned into.
_HIDDEN = re.compile(r" failed: ((?:Key|Index|Type|Attribute|ZeroDivision|Recursion|Assertion)Error)\b|(please report)")


@dataclass(frozen=True)
class Fault:
    """kind: traceback, signal, hang, memory, message, leftover or reach. where: equal for what has one cause."""

    kind: str
    where: str
    detail: str

    @property
    def group(self) -> str:
        """What duplicates share."""
        return f"{self.kind}: {self.where}"


def judge(
    case: Case, ending: Ending, before: Mapping[str, object], after: Mapping[str, object], limits: Limits
) -> Fault | None:
    """None where the ending is allowed. `before` and `after`: the files of the scratch folder and their states."""
    if ending.late or ending.signal in (signal.SIGXCPU, signal.SIGKILL):
        return Fault("hang", _place(ending.trace or ending.err), f"{ending.seconds:.0f} s")
    if ending.signal is not None:
        name = signal.Signals(ending.signal).name
        return Fault("signal", f"{name} in {_place(ending.trace)}", ending.err[-2000:])
    if _NO_MEMORY in ending.err or ("MemoryError" in ending.err and ending.code == CRASHED):
        return Fault("memory", _place(ending.err), ending.err[-2000:])
    if ending.code == CRASHED or "Traceback (most recent call last)" in ending.err:
        last = ending.err.strip().splitlines()[-1] if ending.err.strip() else ""
        return Fault("traceback", f"{_exception(ending.err)} in {_place(ending.err)}", last[:500])
    hidden = _HIDDEN.search(ending.err)
    if hidden:
        return Fault("traceback", f"{hidden[1] or hidden[2]} in {_words(ending.err)}", ending.err[-1500:])
    if ending.peak > limits.memory // 2:
        return Fault("memory", f"{case.arguments[0]}", f"{ending.peak / 1e6:.0f} MB")
    if ending.broken:
        return Fault("reach", re.sub(r"[\d'\"]+", "", ending.broken[0])[:80], "; ".join(ending.broken[:5]))
    return _message(case, ending) or _files(case, ending, before, after)


def _message(case: Case, ending: Ending) -> Fault | None:
    code = ending.code
    if code not in case.codes or (code == 6 and _DISK in ending.err):
        return Fault("message", f"exit code {code} of {case.arguments[0]}: {_words(ending.err)}", ending.err[-1500:])
    if code == 0:
        return None
    starts = [found.end() for found in _ERROR.finditer(ending.err)]
    if len(starts) != 1:
        return Fault("message", f"{len(starts)} errors with code {code}: {_words(ending.err)}", ending.err[-1500:])
    said = ending.err[starts[0] :].strip()
    if not 10 <= len(said) <= LONGEST_MESSAGE:
        return Fault("message", f"{'long' if said else 'empty'} message: {_words(said)}", said[:1500])
    if _CONTROL.search(said):
        return Fault("message", f"control character: {_words(said)}", ascii(said[:1500]))
    return None


def _files(case: Case, ending: Ending, before: Mapping[str, object], after: Mapping[str, object]) -> Fault | None:
    changed = sorted(name for name, state in before.items() if after.get(name) != state)
    if changed and not case.may_change:
        return Fault("leftover", f"{case.arguments[0]} changes its input", ", ".join(changed[:5]))
    # A folder that was made and stayed empty is no output.
    new = [name for name, state in after.items() if name not in before and state is not None]
    if ending.code == 0:
        new = [name for name in new if ".tmp" in name or "/.export-" in f"/{name}" or "$TMPDIR" in name]
    else:
        new = [name for name in new if not name.endswith(".lock") and (not case.may_change or "$TMPDIR" in name)]
    if new:
        return Fault("leftover", f"{case.arguments[0]} with code {ending.code}", ", ".join(sorted(new)[:8]))
    return None


def _place(trace: str) -> str:
    """The innermost function of ours in a traceback, of Python's or of faulthandler's."""
    frames = [(name, place) for name, _, place in _FRAME.findall(trace)]
    if "most recent call first" in trace:
        frames.reverse()
    ours = [f"{name.rpartition('/lth_deploy/')[2]} {place}" for name, place in frames if "/lth_deploy/" in name]
    return ours[-1] if ours else "nowhere"


def _exception(err: str) -> str:
    names = re.findall(r"^([\w.]+(?:Error|Exception|Warning|Interrupt|Exit|Fault|PanicException))\b", err, re.MULTILINE)
    return names[-1] if names else "an exception"


def _words(text: str) -> str:
    """The first words of a message without what differs between files."""
    found = _ERROR.search(text)
    line = text[found.end() if found else 0 :].strip().splitlines()
    return re.sub(r"[^A-Za-z ]+", "#", line[0] if line else "")[:60]
