"""The accounting of a run's trials for `inspect`: which share of which weights is zero."""

from pathlib import Path
from typing import Any

from lth_deploy.run.directory import verify_summary
from lth_deploy.run.summary import RunSummary, TrialSummary, load_run


def inspect_run(run: Path) -> RunSummary:
    """The summary of a run directory.

    Raises:
        DataError: there is none, it is damaged, or it has changed since the search committed it.
    """
    verify_summary(run / "summary.json")
    summary, _ = load_run(run / "summary.json")
    return summary


def accounting(summary: RunSummary) -> list[list[str]]:
    """Header, then one row a trial: sparsity asked for, of prunable and of all weights, and of each part."""
    parts = list(dict.fromkeys(part.name for trial in summary.trials for part in trial.parts))
    rows = [["trial", "asked %", "of prunable %", "of all %", "zero MACs %", *(f"{part} %" for part in parts)]]
    for trial in summary.trials:
        shares = [trial.sparsity, trial.sparsity_prunable, trial.sparsity_all, trial.zero_macs]
        by_name = {part.name: part for part in trial.parts}
        shares += [p.zeros / p.weights if (p := by_name.get(name)) and p.weights else None for name in parts]
        rows.append([trial.name, *("-" if share is None else f"{100 * share:.2f}" for share in shares)])
    return rows


def part_rows(summary: RunSummary) -> list[list[str]]:
    """Header, then one row a part: its name in the paper, its weights, and those that may be pruned."""
    rows = [["part", "in the paper", "weights", "of all %", "may be pruned"]]
    total = summary.parameters.total
    for part in _fullest(summary).parts if summary.trials else []:
        share = f"{100 * part.weights / total:.2f}" if total else "-"
        rows.append([part.name, part.paper or "-", f"{part.weights:,}", share, f"{part.prunable:,}"])
    return rows


def accounting_json(summary: RunSummary) -> dict[str, Any]:
    """The same as plain JSON values."""
    keys = {"name", "kind", "sparsity", "sparsity_prunable", "sparsity_all", "zero_macs", "parts"}
    return {
        "parameters": summary.parameters.model_dump(),
        "trials": [trial.model_dump(include=keys) for trial in summary.trials],
    }


def _fullest(summary: RunSummary) -> TrialSummary:
    return max(summary.trials, key=lambda trial: len(trial.parts))
