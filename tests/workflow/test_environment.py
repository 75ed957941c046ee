"""`checks`: what is here, and what that means for the verbs."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from lth_deploy.workflow import environment


def test_it_says_what_is_here() -> None:
    found = environment.check_environment()
    assert found.facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert int(found.facts["cores"]) >= 1
    assert {"processor", "device", "numpy", "onnx", "onnxruntime"} <= set(found.facts)


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        ({"onnxruntime": "1.17.3"}, "onnxruntime 1.17.3 is older than 1.18; update it"),
        ({"onnxruntime": "1.22.1"}, "load only ONNX files that you trust"),
        ({"torch": "2.9.1+cpu"}, r"torch 2.9.1\+cpu is older than 2.11; update it"),
        ({}, r"pip install 'lth-deploy\[train\]'"),
    ],
)
def test_it_warns(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], words: str) -> None:
    monkeypatch.setattr(environment, "versions", lambda: versions)
    assert re.search(words, "\n".join(environment.check_environment().warnings))


def test_nothing_is_said_where_all_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    new = {
        "torch": "2.14.0+cu130",
        "torchvision": "0.29.0",
        "onnx": "1.23.0",
        "onnxruntime": "1.32.0",
        "numpy": "2.4.0",
    }
    monkeypatch.setattr(environment, "versions", lambda: new)
    assert environment.check_environment().warnings == []


def test_a_torch_that_does_not_load_is_a_fact_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(environment, "versions", lambda: {"torch": "2.14.0"})
    assert environment.check_environment().facts["device"].startswith("cpu (torch does not load: ")


def test_the_kernel_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / "liblth_ops.so"
    library.touch()
    monkeypatch.setenv("LTH_OPS_LIBRARY", str(library))
    assert environment.check_environment().facts["kernel library"] == str(library)


def test_a_missing_kernel_library_is_a_fact_and_a_warning_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LTH_OPS_LIBRARY", str(tmp_path / "absent.so"))
    found = environment.check_environment()
    assert found.facts["kernel library"].startswith("none")
    assert any("absent.so" in warning and "unset" in warning for warning in found.warnings)


def test_the_minimum_versions_are_those_of_the_project_file() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    bounds = dict(re.findall(r"^(\w+)>=([0-9.]+)", text)[0] for text in required if re.match(r"\w+>=", text))
    for name, least in environment.MINIMUM.items():
        assert bounds[name] == ".".join(map(str, least))
