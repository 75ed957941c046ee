"""The sentences at the head of the page: is there a winning ticket, and what speaks for it or against it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lth_deploy.measure.results import BenchmarkResults, Row
from lth_deploy.reporting import number_text
from lth_deploy.run.summary import RunSummary, TrialSummary, Winner
from lth_deploy.run.sweep_record import SweepRecord

# A random mask that comes closer than this to the ticket casts doubt on the ticket.
RANDOM_MARGIN = 0.03
# A packed file that loses more AP than this against the dense file is no plain success.
SMALL_LOSS = 0.01

State = Literal["good", "bad", "open"]


@dataclass(frozen=True)
class Check:
    """One claim with its outcome; `open` means that the data does not decide it."""

    state: State
    text: str


@dataclass(frozen=True)
class Verdict:
    """`headline` and `reason` are plain text; `state` colors them."""

    state: State
    headline: str
    reason: str
    checks: tuple[Check, ...] = ()


def judge_run(run: RunSummary) -> Verdict:
    """What a run has shown so far."""
    checks = (*_control_checks(run, "random"), *_control_checks(run, "reinit"))
    ticket = run.trial(run.winner.trial) if run.winner else None
    if run.winner and ticket:
        return _won(run, ticket, checks)
    if run.winner:
        text = f"The summary names '{run.winner.trial}' as the winner, but holds no such trial."
        return Verdict("bad", "The winner is missing", text, checks)
    if not run.finished:
        text = f"{len(run.trials)} trials are done so far; the winner is chosen when all of them are."
        return Verdict("open", "This run is not finished", text, checks)
    return Verdict("bad", "No winning ticket", _why_none(run), checks)


def judge_benchmark(results: BenchmarkResults) -> Verdict:
    """The best packed file, on the engine that runs it fastest, against the dense baseline."""
    best = best_file(results)
    if best is None:
        text = f"{len(results.rows)} artifacts were measured; none of them is packed."
        return Verdict("open", "Benchmark", text)
    base = baseline_of(best, results.rows)
    if base is None or not base.bytes or not best.bytes:
        return Verdict(
            "open", "Benchmark", f"{best.name} takes {number_text.size(best.bytes)}; no dense row to compare."
        )
    headline = f"{best.name} is {base.bytes / best.bytes:.1f} times smaller than {base.name}"
    if best.p50 and base.p50 and base.p50 > 1.05 * best.p50:
        headline += f" and {base.p50 / best.p50:.1f} times as fast"
    findings = [f"{number_text.size(best.bytes)} against {number_text.size(base.bytes)}"]
    if best.p50 and base.p50:
        findings.append(
            f"median latency {number_text.milliseconds(best.p50)} ms against {number_text.milliseconds(base.p50)} ms "
            f"({best.engine}, {number_text.threads(best.threads)})"
        )
    dense = next((row for row in results.rows if row.best_dense and row.threads == best.threads), None)
    if dense and dense.p50 and best.p50:
        findings.append(
            f"{number_text.times(dense.p50 / best.p50)} as fast as the best dense engine, {dense.engine_label}, "
            f"which takes {number_text.milliseconds(dense.p50)} ms"
        )
    kind = main_kind(results)
    best_ap, base_ap = best.ap_of(kind), base.ap_of(kind)
    if best_ap is not None and base_ap is not None:
        findings.append(
            f"AP {number_text.ap(best_ap)} against {number_text.ap(base_ap)} ({number_text.points(best_ap - base_ap)})"
        )
    good = _keeps_ap(best, results) and best.bytes < base.bytes
    return Verdict("good" if good else "open", headline, "; ".join(findings) + ".")


def judge_sweep(sweep: SweepRecord) -> Verdict:
    """How much of a sweep there is; what it shows is in its plot."""
    done = sum(run.state == "finished" for run in sweep.rows)
    lost = [run.id for run in sweep.rows if run.state in ("failed", "blocked")]
    headline = f"{done} of {len(sweep.rows)} runs are finished"
    if lost:
        return Verdict("bad", headline, f"Lost: {', '.join(lost)}. The table is empty there.")
    if done < len(sweep.rows):
        return Verdict("open", headline, "The table is empty where runs are missing.")
    return Verdict("good", headline, "Every cell of the table is measured.")


def best_file(results: BenchmarkResults) -> Row | None:
    """The row of the smallest packed file that keeps the AP, or of the smallest where none does.

    Of its rows with the fewest threads it is the fastest.
    """
    packed = [row for row in results.rows if row.kind in ("packed", "coo") and row.bytes]
    keeping = [row for row in packed if _keeps_ap(row, results)]
    return min(keeping or packed, key=lambda row: (row.bytes or 0, row.threads or 0, row.p50 or math.inf), default=None)


def _keeps_ap(row: Row, results: BenchmarkResults) -> bool:
    kind, base = main_kind(results), baseline_of(row, results.rows)
    ap, base_ap = row.ap_of(kind), base.ap_of(kind) if base else None
    return ap is not None and base_ap is not None and ap >= base_ap - SMALL_LOSS


def baseline_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """The dense row that `row` is compared with: same host, and same engine and threads or at least same threads."""
    dense = [other for other in rows if other.kind == "dense" and other.host == row.host]
    alike = [other for other in dense if other.threads == row.threads]
    same = [other for other in alike if other.engine == row.engine]
    return next(iter(same or alike or dense), None)


def main_kind(results: BenchmarkResults) -> str:
    """The first kind of AP in the results, boxes before masks before keypoints."""
    found = {kind for row in results.rows for kind in row.ap or {}}
    return next((kind for kind in ("bbox", "segm", "keypoints") if kind in found), min(found, default="bbox"))


def _won(run: RunSummary, ticket: TrialSummary, checks: tuple[Check, ...]) -> Verdict:
    winner = run.winner
    assert winner is not None
    dense = run.control
    kind = run.main_kind
    val = winner.val_ap if winner.val_ap is not None else ticket.ap("val", kind)
    dense_val = winner.dense_val_ap
    if dense_val is None and dense:
        dense_val = dense.ap("val", kind)
    if dense_val is not None and dense_val <= (run.tolerance or 0.0):
        text = f"The dense control has AP {number_text.ap(dense_val)} on val: everything is as good as that."
        return Verdict("bad", "The dense control learned nothing", text, checks)
    parts = [f"It is the sparsest level within {number_text.ap(run.tolerance)} AP points of the dense control on val"]
    if val is not None and dense_val is not None:
        parts[0] += f" ({number_text.ap(val)} against {number_text.ap(dense_val)})"
    if winner.test_ap is not None and winner.dense_test_ap is not None:
        difference = number_text.points(winner.test_ap - winner.dense_test_ap)
        text = f"on test it reaches {number_text.ap(winner.test_ap)} against {number_text.ap(winner.dense_test_ap)}"
        parts.append(f"{text}, a difference of {difference} points{_interval(winner)}")
    headline = f"A winning ticket: {number_text.percent(ticket.zeros)} of the prunable weights are zero"
    doubts = any(check.state == "bad" for check in checks)
    return Verdict("open" if doubts else "good", headline, "; ".join(parts) + ".", checks)


def _interval(winner: Winner) -> str:
    low, high = winner.interval or (None, None)
    if low is None or high is None:
        return ""
    place = "" if winner.interval_split == "test" else f" on {winner.interval_split}"
    return f" (95 % interval{place} {number_text.points(low)} to {number_text.points(high)})"


def _why_none(run: RunSummary) -> str:
    kind = run.main_kind
    dense = run.control.ap("val", kind) if run.control else None
    tickets = [(trial.ap("val", kind), trial) for trial in run.of_kind("ticket")]
    measured = [(found, trial) for found, trial in tickets if found is not None]
    if dense is None or not measured:
        return "No ticket and dense control were measured on val, so none could be chosen."
    nearest, trial = max(measured, key=lambda pair: pair[0])
    if run.tolerance is not None and nearest >= dense - run.tolerance:
        return f"The summary names none, although {trial.name} is within the tolerance; run it with --resume."
    within = "the tolerance" if run.tolerance is None else f"{number_text.ap(run.tolerance)} AP points"
    return (
        f"At no level did AP on val come within {within} of the dense control ({number_text.ap(dense)}). "
        f"The nearest, {trial.name} with {number_text.percent(trial.zeros)} zeros, reaches {number_text.ap(nearest)} "
        f"({number_text.points(nearest - dense)})."
    )


def _control_checks(run: RunSummary, kind: str) -> list[Check]:
    """One check for each control; the winner's own level first. A check of its own says when there is none."""
    title = {"random": "A random mask", "reinit": "The same mask with new weights"}[kind]
    best = run.trial(run.winner.trial) if run.winner else None
    controls = run.of_kind(kind)
    if best:
        controls.sort(key=lambda trial: abs(trial.zeros - best.zeros))
    checks = [_control_check(run, control, title) for control in controls]
    level = best and any(abs(control.zeros - best.zeros) < 0.005 for control in controls)
    if best and not level and kind == "random":
        text = "No random mask was trained at the winner's level, so nothing shows that the mask matters."
        checks.insert(0, Check("open", text))
    return checks


def _control_check(run: RunSummary, control: TrialSummary, title: str) -> Check:
    at = f"{title} at {number_text.percent(control.zeros)}"
    ticket = min(run.of_kind("ticket"), key=lambda trial: abs(trial.zeros - control.zeros), default=None)
    if ticket is None or abs(ticket.zeros - control.zeros) > 0.005:
        return Check("open", f"{at} has no ticket of the same level to be compared with.")
    for split in ("test", "val"):
        ticket_ap, control_ap = ticket.ap(split, run.main_kind), control.ap(split, run.main_kind)
        if ticket_ap is not None and control_ap is not None:
            return _compared(f"{at} (AP {number_text.ap(control_ap)})", ticket_ap - control_ap, split)
    return Check("open", f"{at} and its ticket were not both measured.")


def _compared(subject: str, gap: float, split: str) -> Check:
    need = number_text.ap(RANDOM_MARGIN)
    # A small tolerance, because 0.55 - 0.52 is not 0.03 in binary.
    if gap >= RANDOM_MARGIN - 1e-9:
        return Check("good", f"{subject} is {number_text.ap(gap)} points below the ticket on {split}.")
    place = f"only {number_text.ap(gap)} points below" if gap >= 0 else f"{number_text.ap(-gap)} points above"
    text = f"{subject} is {place} the ticket on {split}, not at least {need} below"
    if subject.startswith("A random"):
        return Check("bad", f"{text}: the ticket owes little to its mask.")
    return Check("open", f"{text}: the ticket owes little to its first weights.")
