"""`lth-deploy find-ticket`."""

import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lth_deploy.commands.options import RecipeArgument
from lth_deploy.commands.output import points, print_json, print_table, seconds_of
from lth_deploy.errors import UsageError

if TYPE_CHECKING:
    from lth_deploy.config.recipe import Recipe
    from lth_deploy.run.summary import RunSummary


def find_ticket(
    recipe: RecipeArgument,
    out: Annotated[
        str | None, typer.Option(help="Run directory, or a URL such as s3://bucket/run; default runs/NAME.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    max_time: Annotated[str | None, typer.Option(help="Stop after this long, for instance 2h.")] = None,
    dense_from: Annotated[
        str | None, typer.Option(help="Take the dense trial of this run, of the same detector, data and training.")
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Two steps on generated data.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print steps, epochs, memory and disk of the search, and start nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary, or the plan, as JSON.")] = False,
) -> None:
    """Search a winning ticket: train, prune, rewind, retrain, with controls. torchrun starts it on many devices."""
    from lth_deploy.config.bundled import recipe_file
    from lth_deploy.config.recipe import load_recipe
    from lth_deploy.run.remote.location import is_remote
    from lth_deploy.run.remote.look import file_at
    from lth_deploy.run.remote.mirror import working_folder
    from lth_deploy.training.stop_request import accept_stop_requests
    from lth_deploy.workflow.search.all_ranks import on_all_ranks
    from lth_deploy.workflow.search.find_ticket import TicketResult
    from lth_deploy.workflow.search.find_ticket import find_ticket as search_ticket

    with file_at(recipe) if is_remote(recipe) else nullcontext(recipe_file(recipe)) as file:
        loaded = load_recipe(file, overrides, check_variables=not smoke)
    place = out or loaded.out or str(Path("runs") / loaded.name)
    if plan:
        if smoke:
            raise UsageError("--plan writes nothing, and --smoke would: leave one of them out")
        _print_plan(loaded, recipe, place, as_json)
        return

    def search(restarted: bool) -> TicketResult:
        with working_folder(place) as folder:
            return search_in(folder, restarted)

    def search_in(folder: Path, restarted: bool) -> TicketResult:
        searched = loaded
        if smoke:
            from lth_deploy.workflow.search.smoke import smoke_recipe

            # All ranks of a search compute on devices of one kind.
            searched = smoke_recipe(loaded, folder.with_name(f"{folder.name}.initial.safetensors"), device=device)
        return search_ticket(
            searched,
            folder,
            device=device,
            resume=resume or restarted,
            max_seconds=seconds_of(max_time),
            dense_from=dense_from,
        )

    accept_stop_requests()
    result = on_all_ranks(loaded, device, search)
    if result is None:
        return
    print_table(*_table(result.summary), to_stderr=as_json)
    print(_verdict(result.summary, result.run, place), file=sys.stderr)
    if as_json:
        print_json(result.summary.as_json())


def _print_plan(loaded: "Recipe", name: str, place: str, as_json: bool) -> None:
    from lth_deploy.run.remote.location import is_remote, location_of
    from lth_deploy.workflow.search.search_plan import plan_search

    planned = plan_search(loaded, location_of(place).local if is_remote(place) else Path(place))
    rows = [[one.name, one.kind, str(one.steps), f"{one.epochs:.1f}"] for one in planned.trials]
    rows.append(["all", "", str(planned.steps), f"{planned.steps / planned.batches_per_epoch:.1f}"])
    print_table(["trial", "kind", "steps", "epochs"], rows, to_stderr=as_json)
    print(
        f"{planned.images} images, {planned.batch} a step, {planned.batches_per_epoch} steps an epoch", file=sys.stderr
    )
    for one in planned.memory:
        kept = "what passes keep could not be measured"
        if one.activations is not None:
            kept = f"what a pass over {one.images} images keeps {_gigabytes(one.activations)}"
        print(
            f"memory of each device with {one.ranks} rank{'s' * (one.ranks > 1)}: weights, gradients and optimizer "
            f"{_gigabytes(one.fixed)}, {kept}; kernels need more on top",
            file=sys.stderr,
        )
    short = "" if planned.free > planned.disk else ", which is too little"
    print(
        f"disk: {_gigabytes(planned.disk)} in {place}, {_gigabytes(planned.free)} are free{short}; data that is "
        "generated or converted comes on top",
        file=sys.stderr,
    )
    print(
        f"time: not measured; on the device: [torchrun --nproc-per-node N] -m benchmarks.distributed step {name}",
        file=sys.stderr,
    )
    if as_json:
        print_json(asdict(planned) | {"steps": planned.steps})


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


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


def _verdict(summary: "RunSummary", run: Path, place: str) -> str:
    if not summary.finished:
        return f"not finished; go on with: lth-deploy find-ticket ... --out {place} --resume"
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
