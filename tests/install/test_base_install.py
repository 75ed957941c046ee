"""The base install, without torch, in a virtual environment of its own: what an edge box has."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.reporting.report_samples import make_benchmark, write

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment that the project is installed in, without extras; pip as users run it."""
    folder = tmp_path_factory.mktemp("install")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=300)
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    made = subprocess.run([*pip, "--no-compile", str(PROJECT)], capture_output=True, text=True, timeout=600)
    assert made.returncode == 0, made.stderr
    return folder / "venv" / "bin"


def _run(installed: Path, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the installed program where the checkout is out of sight."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(installed / "lth-deploy"), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=folder, env=environment | {"OMP_NUM_THREADS": "1"}
    )


def _python(installed: Path, folder: Path, code: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(installed / "python"), "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=folder, env=environment, check=True
    ).stdout


def _small_model(path: Path) -> Path:
    rng = np.random.default_rng(0)
    weights = {"first": rng.standard_normal((16, 3, 3, 3)), "second": rng.standard_normal((32, 16, 3, 3))}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "first"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Conv", ["b", "second"], ["y"]),
        ],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 24, 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 32, 20, 20])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def test_the_base_install_has_no_torch(installed: Path, tmp_path: Path) -> None:
    code = "import importlib.util as u; print([n for n in ('torch', 'torchvision', 'openvino') if u.find_spec(n)])"
    assert _python(installed, tmp_path, code).strip() == "[]"


def test_help_answers(installed: Path, tmp_path: Path) -> None:
    shown = _run(installed, tmp_path, "--help")
    assert shown.returncode == 0
    for verb in ("find-ticket", "export", "benchmark", "evaluate", "predict", "inspect", "report", "data", "recipe"):
        assert verb in shown.stdout


def test_any_onnx_model_is_exported_inspected_and_smaller(installed: Path, tmp_path: Path) -> None:
    model = _small_model(tmp_path / "small.onnx")
    made = _run(installed, tmp_path, "export", "--onnx", model, "--sparsity", 0.8, "--json")
    assert made.returncode == 0, made.stderr
    artifact = Path(json.loads(made.stdout)["artifact"])
    assert artifact.stat().st_size < model.stat().st_size / 2
    seen = _run(installed, tmp_path, "inspect", artifact)
    assert seen.returncode == 0, seen.stderr
    assert "second" in seen.stdout


def test_shapes_are_drawn_and_checked(installed: Path, tmp_path: Path) -> None:
    drawn = _run(installed, tmp_path, "data", "shapes", "shapes", "--train", 2, "--val", 1, "--test", 1)
    assert drawn.returncode == 0, drawn.stderr
    checked = _run(installed, tmp_path, "data", "check", "shapes/train.json", "shapes/train")
    assert checked.returncode == 0, checked.stderr


def test_bundled_recipes_and_targets_are_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    listed = _run(installed, tmp_path, "recipe", "list")
    assert listed.returncode == 0, listed.stderr
    names = {line.split()[0] for line in listed.stdout.splitlines()}
    bundled = {file.relative_to(PROJECT / "recipes").with_suffix("") for file in (PROJECT / "recipes").rglob("*.yaml")}
    assert names == {str(file) for file in bundled if file.parent.name != "sweeps"}
    shown = _run(installed, tmp_path, "recipe", "show", "quickstart")
    assert shown.stdout == (PROJECT / "recipes" / "quickstart.yaml").read_text()
    code = "from lth_deploy.config.bundled import *; print(*[target_file(name) for name in target_names()], sep='\\n')"
    targets = [Path(line) for line in _python(installed, tmp_path, code).splitlines()]
    assert {file.name for file in targets} == {file.name for file in (PROJECT / "export").glob("*.yaml")}
    assert all(file.is_relative_to(installed.parent) for file in targets)


def test_a_report_is_written_from_the_wheels_own_template(installed: Path, tmp_path: Path) -> None:
    write(tmp_path / "results.json", make_benchmark())
    written = _run(installed, tmp_path, "report", "results.json", "--out", "page.html")
    assert written.returncode == 0, written.stderr
    assert "<svg" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("extra", [[], ["--smoke"]])
def test_finding_tickets_says_in_one_line_what_to_install(installed: Path, tmp_path: Path, extra: list[str]) -> None:
    refused = _run(installed, tmp_path, "find-ticket", "quickstart", "--out", "run", *extra)
    assert refused.returncode == 2
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: ")
    assert "needs the package 'torch', which is not installed" in line
    assert line.endswith("pip install 'lth-deploy[train]'")
    assert list(tmp_path.iterdir()) == []


def test_checks_says_what_is_missing(installed: Path, tmp_path: Path) -> None:
    shown = _run(installed, tmp_path, "checks")
    assert shown.returncode == 0, shown.stderr
    assert "pip install 'lth-deploy[train]'" in shown.stderr


def test_every_verb_explains_itself_without_torch(installed: Path, tmp_path: Path) -> None:
    for verb in ("find-ticket", "export", "benchmark", "evaluate", "predict", "inspect", "report", "data", "recipe"):
        shown = _run(installed, tmp_path, verb, "--help")
        assert shown.returncode == 0, shown.stderr


def test_the_kernel_library_comes_with_it(installed: Path, tmp_path: Path) -> None:
    shown = _run(installed, tmp_path, "ops-library")
    assert shown.returncode == 0, shown.stderr
    library = Path(shown.stdout.strip())
    assert library.is_file()
    assert installed.parent in library.parents
    sources = list(library.parent.rglob("*.cpp"))
    assert not sources
    model = _small_model(tmp_path / "small.onnx")
    code = f"import lth_deploy; print(lth_deploy.session({str(model)!r}).get_inputs()[0].name)"
    assert _python(installed, tmp_path, code).strip() == "image"


def test_without_a_compiler_it_installs_and_says_what_is_missing(installed: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    broken = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"CXX": "/bin/false"}
    pip = [str(installed / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    made = subprocess.run(
        [*pip, "--target", str(target), str(PROJECT)], capture_output=True, text=True, timeout=600, env=broken
    )
    assert made.returncode == 0, made.stderr
    model = _small_model(tmp_path / "small.onnx")
    here = f"import sys; sys.path.insert(0, {str(target)!r}); import lth_deploy; "
    assert _python(installed, tmp_path, f"{here}print(lth_deploy.__file__)").startswith(str(target))
    session = f"{here}print(lth_deploy.session({str(model)!r}).get_inputs()[0].name)"
    assert _python(installed, tmp_path, session).strip() == "image"
    asked = "try:\n    lth_deploy.ops_library()\nexcept Exception as error:\n    print(type(error).__name__, error)"
    said = _python(installed, tmp_path, f"{here}\n{asked}")
    assert said.startswith("MissingLibraryError the kernel library")
    assert "no C++ compiler was found" in said
