"""Which row is run next: the first that has what it needs, so that a dense training is never done twice."""

from collections.abc import Callable, Collection, Mapping, Sequence
from fnmatch import fnmatchcase

from lth_deploy.errors import UsageError
from lth_deploy.registry import did_you_mean
from lth_deploy.workflow.sweep.record import LOST, Progress
from lth_deploy.workflow.sweep.rows import SweepRow


def chosen_rows(rows: Sequence[SweepRow], patterns: Sequence[str]) -> set[str]:
    """Ids of the rows whose name or id matches a pattern, with those that they take tickets from; without any, all.

    Raises:
        UsageError: a pattern matches no row.
    """
    chosen = set() if patterns else {row.id for row in rows}
    for pattern in patterns:
        found = {row.id for row in rows if fnmatchcase(row.name, pattern) or fnmatchcase(row.id, pattern)}
        if not found:
            names = dict.fromkeys(name for row in rows for name in (row.name, row.id))
            raise UsageError(f"--rows: no row is called '{pattern}'{did_you_mean(pattern, names)}")
        chosen |= found
    for row in reversed(rows):  # what a row takes tickets from comes before it
        if row.id in chosen:
            chosen.update(row.needs)
    return chosen


def block(rows: Sequence[SweepRow], progress: Mapping[str, Progress]) -> None:
    """Mark the waiting rows that a lost row keeps from ever running."""
    for row in rows:
        one = progress[row.id]
        lost = [need for need in row.needs if progress[need].state in LOST]
        if one.state == "waiting" and lost:
            one.state, one.error = "blocked", f"it takes tickets from '{lost[0]}', which was lost"


def next_row(
    rows: Sequence[SweepRow],
    chosen: Collection[str],
    progress: Mapping[str, Progress],
    dense_key: Callable[[SweepRow], str],
    dense_is_finished: Callable[[SweepRow], bool],
) -> tuple[SweepRow, SweepRow | None] | None:
    """The next of the `chosen` rows to run, and the row whose dense training it can take; None while there is none.

    A row waits for the tickets that it needs, and for a running row that is training the dense network that it needs
    too.
    """
    for row in rows:
        if row.id not in chosen or progress[row.id].state != "waiting":
            continue
        if any(progress[need].state != "finished" for need in row.needs):
            continue
        if dense_is_finished(row):
            return row, None
        twins = [other for other in rows if other is not row and dense_key(other) == dense_key(row)]
        done = next((other for other in twins if dense_is_finished(other)), None)
        if done is not None:
            return row, done
        if not any(progress[other.id].state == "running" for other in twins):
            return row, None
    return None
