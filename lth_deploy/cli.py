"""The command line: a thin layer that parses, calls a verb, and prints.

Tables go to stdout; with --json the JSON goes there and the table to stderr. Logs and progress go to stderr.
"""

import io
import logging
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from lth_deploy import progress
from lth_deploy.commands import (
    analyze,
    benchmark,
    checks,
    data,
    evaluate,
    export,
    find_ticket,
    inspect,
    measure_costs,
    ops_library,
    predict,
    recipe,
    report,
    sweep,
    verify,
)
from lth_deploy.commands.output import shown
from lth_deploy.errors import DataError, LthError, StorageError, detail_of
from lth_deploy.processes import keep_working_folder_out

INTERRUPTED = 130

EPILOG = (
    "Exit codes: 0 ok, 1 training failed or a row of a sweep lost, 2 usage or recipe, 3 data or file, 4 parity, "
    "5 a gate missed, 6 disk, 130 interrupted."
)

app = typer.Typer(
    no_args_is_help=True,
    epilog=EPILOG,
    pretty_exceptions_enable=False,
    help="Find sparse tickets of detectors, pack them into one ONNX file, and measure what that buys.",
)
app.command("find-ticket")(find_ticket.find_ticket)
app.command("sweep")(sweep.sweep)
app.command("export")(export.export)
app.command("benchmark")(benchmark.benchmark)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("inspect")(inspect.inspect)
app.command("verify")(verify.verify)
app.command("report")(report.report)
app.command("analyze")(analyze.analyze)
app.command("ops-library")(ops_library.ops_library)
app.command("measure-costs")(measure_costs.measure_costs)
app.command("checks")(checks.checks)
app.add_typer(data.app, name="data")
app.add_typer(recipe.app, name="recipe")


class _Plain(logging.Formatter):
    """Messages quote names from files, which may hold control characters."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def _print_version(wanted: bool) -> None:
    if wanted:
        from lth_deploy.run.directory import versions

        print(f"lth-deploy {versions().get('lth-deploy', 'of a checkout that is not installed')}")
        raise typer.Exit


@app.callback()
def settings(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Debug messages too.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Set how much is logged, to stderr."""
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    on_terminal = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    progress.show(progress.Bars() if on_terminal and not quiet else progress.Lines())
    handler = progress.TerminalHandler()
    handler.setFormatter(_Plain("%(message)s"))
    package = logging.getLogger("lth_deploy")
    package.handlers[:] = [handler]
    package.setLevel(level)
    package.propagate = False


def _described(error: LthError) -> str:
    """The message, and with --verbose what an engine said."""
    detail = detail_of(error)
    if detail is None:
        return str(error)
    if logging.getLogger("lth_deploy").isEnabledFor(logging.DEBUG):
        return f"{error}\nthe engine's own message: {detail}"
    return f"{error} (lth-deploy --verbose shows the engine's own message)"


def unforeseen(error: Exception) -> str:
    """What is said of an exception that is a fault of this program, or of a file that it should have refused."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if "lth_deploy" in frame.filename]
    place = f" in {Path(own[-1].filename).name}, line {own[-1].lineno}" if own else ""
    text = " ".join(str(error).split())[:200]
    return (
        f"lth-deploy did not foresee this ({type(error).__name__}{': ' if text else ''}{text}{place}). If a file that "
        "it read may be damaged, restore it; else please report this with what lth-deploy --verbose prints"
    )


def _interrupt(*_: object) -> None:
    """End as Ctrl-C does, so that temporary files are deleted and children are stopped."""
    raise KeyboardInterrupt


def main() -> NoReturn:
    """Entry point: errors of ours become one message and their exit code, never a traceback."""
    # Pillow warns of large images and of each damaged EXIF field; where that matters, there is an error of ours.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    keep_working_folder_out()
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names out of files may hold what the terminal's encoding cannot express.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except LthError as error:
        print(f"error: {shown(_described(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        # What no verb foresaw, such as a disk that goes away; --verbose shows where.
        logging.getLogger(__name__).debug("the system refused", exc_info=True)
        said = shown(str(error))
        print(f"error: the system refused: {said}; check the path, the rights and the disk", file=sys.stderr)
        sys.exit(StorageError.exit_code)
    except MemoryError:
        logging.getLogger(__name__).debug("out of memory", exc_info=True)
        print("error: the memory of this machine is not enough for that; use smaller files or images", file=sys.stderr)
        sys.exit(DataError.exit_code)
    except Exception as error:
        # The last resort: a file may hold what nobody thought of. Known causes have errors of their own.
        logging.getLogger(__name__).debug("unforeseen", exc_info=True)
        print(f"error: {shown(unforeseen(error))}", file=sys.stderr)
        sys.exit(DataError.exit_code)
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer takes Ctrl-C for itself and leaves with this code, without a word.
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        print("interrupted; a search goes on with --resume", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(0)
