"""`lth-deploy find-ticket`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lth_deploy.commands.options import RecipeArgument
from lth_deploy.commands.output import points, print_json, print_table, seconds_of

if TYPE_CHECKING:
    from lth_deploy.run.summary import RunSummary


def find_ticket(
    recipe: RecipeArgument,
    out: Annotated[Path | None, typer.Option(help="Run directory; default runs/NAME.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    max_time: Annotated[str | None, typer.Option(help="Stop after this long, for instance 2h.")] = None,
    dense_from: Annotated[
        Path | None, typer.Option(help="Take the dense trial of this run, of the same detector, data and training.")
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Two steps on generated data.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Search a winning ticket: train, prune, rewind, retrain, with controls."""
    from lth_deploy.config.bundled import recipe_file
    from lth_deploy.config.recipe import load_recipe
    from lth_deploy.workflow.search.find_ticket import find_ticket as search_ticket

    loaded = load_recipe(recipe_file(recipe), overrides, check_variables=not smoke)
    folder = out or Path("runs") / loaded.name
    if smoke:
        from lth_deploy.workflow.search.smoke import smoke_recipe

        loaded = smoke_recipe(loaded, folder.with_name(f"{folder.name}.initial.safetensors"))
    result = search_ticket(
        loaded, folder, device=device, resume=resume, max_seconds=seconds_of(max_time), dense_from=dense_from
    )
    print_table(*_table(result.summary), to_stderr=as_json)
    print(_verdict(result.summary, result.run), file=sys.stderr)
    if as_json:
        print_json(result.summary.as_json())


def _table(summary: "RunSummary") -> tuple[list[str], list[list[str]]]:
    headers = [
        "trial",
        "zeros %",
        "of all %",
        "zero MACs %",
        "val AP",
        "val AP50",
        "test AP",
        "test AP50",
        "minutes",
    ]
    metric = summary.selection["metric"]
    scores = [(split, figure) for split in ("val", "test") for figure in ("AP", "AP50")]
    rows = []
    for trial in summary.trials:
        shares = (trial.sparsity_prunable, trial.sparsity_all, trial.zero_macs)
        rows.append(
            [
                trial.name,
                *(f"{100 * (share or 0.0):.2f}" for share in shares),
                *(points(trial.ap(split, metric, figure)) for split, figure in scores),
                f"{(trial.seconds or 0.0) / 60:.1f}",
            ]
        )
    return headers, rows


def _verdict(summary: "RunSummary", run: Path) -> str:
    if not summary.finished:
        return f"not finished; go on with: lth-deploy find-ticket ... --out {run} --resume"
    winner = summary.winner
    if winner is None:
        return "no winning ticket: no level is within the tolerance of the dense control on val"
    low, high = (100 * (bound or 0.0) for bound in winner.interval or (None, None))
    has_int8_twin = summary.trial(f"{winner.trial}_int8") is not None
    as_int8 = f", or for its INT8 twin: lth-deploy export {run} --values int8" if has_int8_twin else ""
    return (
        f"winning ticket: {winner.trial}, AP {points(winner.test_ap or winner.val_ap)} against "
        f"{points(winner.dense_test_ap or winner.dense_val_ap)} dense on {winner.interval_split} "
        f"(difference {low:+.1f} to {high:+.1f} with 95 % confidence)\nnext: lth-deploy export {run}{as_int8}"
    )
