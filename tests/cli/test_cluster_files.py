"""The files of docs/clusters: each is what its program reads, and its command line is one of ours."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from lth_deploy.cli import app
from lth_deploy.commands.sweep import _settings
from lth_deploy.config import strict_yaml
from lth_deploy.config.bundled import recipe_file
from lth_deploy.config.sweep_spec import load_sweep
from lth_deploy.config.validation import validate
from lth_deploy.workflow.sweep.launchers import LAUNCHERS
from lth_deploy.workflow.sweep.rows import rows_of

FOLDER = Path(__file__).parents[2] / "docs" / "clusters"
FILES = sorted(FOLDER.iterdir())
IMPORTED = {name: import_module(module) for name, module in LAUNCHERS.items()}


def commands(file: Path) -> list[list[str]]:
    """The command lines of lth-deploy in a file, as words after the program's name."""
    text = file.read_text(encoding="utf-8")
    found = [
        shlex.split(line) for line in re.findall(r"lth-deploy ((?:sweep|find-ticket) .*)", text.replace("\\\n", " "))
    ]
    if file.suffix == ".yaml":
        for value in values(yaml.safe_load(text)):
            if isinstance(value, list) and value[:1] == ["lth-deploy"]:
                found.append(value[1:])
    return found


def values(node: Any) -> Iterator[Any]:
    """Every value of nested data."""
    yield node
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        yield from values(one)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_commands_of_a_file_can_be_read(file: Path) -> None:
    group: Any = typer.main.get_command(app)
    read = commands(file)
    assert read or file.name == "sweep.yaml"
    for verb, *words in read:
        context = group.commands[verb].make_context(verb, words)
        if verb == "sweep":
            name = context.params["launcher"]
            given = [f"{key}={value}" for key, value in _settings(context.params["launcher_options"] or []).items()]
            validate(IMPORTED[name].Options, strict_yaml.parse("{}", name), given)
            assert Path(context.params["file"]).name == "sweep.yaml"
        else:
            assert recipe_file(context.params["recipe"]).is_file()
        assert context.params["resume"]


def test_the_rows_of_the_sweep_have_their_resources(tmp_path: Path) -> None:
    rows = rows_of(load_sweep(FOLDER / "sweep.yaml"), tmp_path, check_variables=False)
    assert {row.name: row.resources.hours for row in rows} == {"direct": 12, "wide": 24}
    assert {row.resources.gpus for row in rows} == {1}


@pytest.mark.parametrize("file", [one for one in FILES if one.suffix == ".sbatch"], ids=lambda file: file.name)
def test_batch_scripts_are_shell_with_options_of_sbatch(file: Path) -> None:
    assert subprocess.run(["bash", "-n", file], check=False, capture_output=True, timeout=300).returncode == 0
    options = re.findall(r"^#SBATCH (--[a-z-]+)(?:=(\S+))?$", file.read_text(), re.MULTILINE)
    assert len(options) == file.read_text().count("\n#SBATCH ")
    if "search" in file.name:
        assert ("--signal", "USR2@90") in options


def test_the_files_of_kubernetes_are_complete() -> None:
    job = yaml.safe_load((FOLDER / "kubernetes_job.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    pods = [job["spec"]["template"]["spec"]]
    ray = yaml.safe_load((FOLDER / "kuberay_job.yaml").read_text())
    assert (ray["apiVersion"], ray["kind"]) == ("ray.io/v1", "RayJob")
    cluster = ray["spec"]["rayClusterSpec"]
    pods += [
        cluster["headGroupSpec"]["template"]["spec"],
        *(one["template"]["spec"] for one in cluster["workerGroupSpecs"]),
    ]
    for pod in pods:
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert container["image"] == "IMAGE"
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_the_cluster_of_ray_has_its_node_types() -> None:
    cluster = yaml.safe_load((FOLDER / "ray_cluster.yaml").read_text())
    assert cluster["head_node_type"] in cluster["available_node_types"]
    assert cluster["available_node_types"]["gpu"]["resources"]["GPU"] == 1
