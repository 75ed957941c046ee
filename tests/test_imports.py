"""What the package and its command line load: an answer to --help must not wait for torch or ONNX."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from lth_deploy.cli import app

HEAVY = {"torch", "torchvision", "onnx", "onnxruntime", "matplotlib", "pandas", "pycocotools", "jinja2", "openvino"}


def _heavy_after(code: str) -> set[str]:
    """Heavy packages that a fresh interpreter has loaded after running `code`."""
    tail = "import json, sys\nprint(json.dumps(sorted(name.split('.')[0] for name in sys.modules)))"
    process = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tail}"], capture_output=True, text=True, check=True, timeout=300
    )
    return HEAVY & set(json.loads(process.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import lth_deploy",
        "import lth_deploy.cli",
        "from lth_deploy.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass",
        "from lth_deploy.cli import app\ntry: app(['export', '--help'])\nexcept SystemExit: pass",
        "from lth_deploy.cli import app\ntry: app(['recipe', 'list'])\nexcept SystemExit: pass",
        "from lth_deploy import load_recipe",
        "from lth_deploy import load_sweep",
        "from lth_deploy import ops_library",
        "from lth_deploy.config.target import Target",
    ],
)
def test_light_uses_load_nothing_heavy(code: str) -> None:
    assert _heavy_after(code) == set()


def test_the_probe_sees_a_heavy_package() -> None:
    assert _heavy_after("import onnx") == {"onnx"}


@pytest.mark.parametrize(
    "module",
    [
        "lth_deploy.workflow.export.from_onnx",
        "lth_deploy.workflow.inspect.inspect",
        "lth_deploy.workflow.benchmark.benchmark",
        "lth_deploy.workflow.evaluate",
        "lth_deploy.workflow.predict",
        "lth_deploy.workflow.report",
        "lth_deploy.workflow.analyze.analyze",
        "lth_deploy.workflow.data",
        "lth_deploy.workflow.sweep.sweep",
        "lth_deploy.workflow.environment",
    ],
)
def test_verbs_of_the_base_install_import_no_torch(module: str) -> None:
    blocked = "import sys\nsys.modules['torch'] = sys.modules['torchvision'] = None\n"
    # None in sys.modules makes an import fail, as on a machine without the package.
    _heavy_after(f"{blocked}import {module}")


def _commands(group: typer.core.TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, typer.core.TyperGroup):
            yield from _commands(command, (*path, name))


_ROOT = typer.main.get_command(app)
assert isinstance(_ROOT, typer.core.TyperGroup)
COMMANDS = sorted(_commands(_ROOT))


def test_the_verbs_are_the_documented_ones() -> None:
    verbs = "find-ticket sweep export verify benchmark evaluate predict inspect report analyze"
    verbs += " ops-library data recipe checks measure-costs"
    assert {path[0] for path in COMMANDS} == set(verbs.split())
    assert {path[1] for path in COMMANDS if path[0] == "data" and path[1:]} == {
        "check",
        "coco",
        "from-voc",
        "crops",
        "shapes",
    }
    recipe = {path[1] for path in COMMANDS if path[0] == "recipe" and path[1:]}
    assert recipe == {"list", "show", "init", "import", "export"}


@pytest.mark.parametrize("path", [(), *COMMANDS], ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    "verb",
    [
        "export",
        "export_onnx",
        "find_ticket",
        "hold",
        "inspect",
        "benchmark",
        "report",
        "analyze",
        "masks_of",
        "ops_library",
        "search_ticket",
        "session",
        "sweep",
    ],
)
def test_verbs_are_functions_of_the_package(verb: str) -> None:
    import lth_deploy

    assert callable(getattr(lth_deploy, verb))
    assert verb in lth_deploy.__all__


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    import lth_deploy

    with pytest.raises(AttributeError, match="no attribute 'find_tickets'"):
        lth_deploy.find_tickets  # noqa: B018


def test_the_package_runs_as_a_module() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "lth_deploy", "--help"], capture_output=True, text=True, check=True, timeout=300
    )
    assert "find-ticket" in process.stdout
