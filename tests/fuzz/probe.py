"""Planted faults: what the campaign says of a child that does something forbidden."""

import sys
from pathlib import Path

from tests.fuzz.campaign import states
from tests.fuzz.case import Case
from tests.fuzz.child import Limits, run_limited
from tests.fuzz.verdict import Fault, judge

_LIMITS = Limits(memory=1 << 28, cpu=2, wall=60.0)


def probe(action: str, place: str) -> Fault | None:
    """The verdict on a child that runs the code `action`."""
    root = Path(place)
    scratch = root / "scratch"
    scratch.mkdir()
    (root / "secret.bin").write_bytes(b"x")
    (scratch / "given").write_bytes(b"given")
    before = states(scratch)
    case = Case("probe", ("probe",), {"given": b"given"})
    ending = run_limited(lambda: exec(action, {"sys": sys}), scratch, root / "logs", _LIMITS)
    return judge(case, ending, before, states(scratch), _LIMITS)
