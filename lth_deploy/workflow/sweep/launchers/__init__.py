"""Where the rows of a sweep run: one file and one line of this table for each launcher."""

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from lth_deploy.config import strict_yaml
from lth_deploy.config.validation import validate
from lth_deploy.errors import UsageError
from lth_deploy.registry import did_you_mean
from lth_deploy.workflow.sweep.launchers.protocol import Launcher

LAUNCHERS = {
    "local": "lth_deploy.workflow.sweep.launchers.local",
    "slurm": "lth_deploy.workflow.sweep.launchers.slurm",
    "ray": "lth_deploy.workflow.sweep.launchers.ray",
}
"""Each module has `Options`, a section of settings, and `launcher(out, devices, jobs, options)`."""


def launcher_of(
    name: str, out: Path, devices: Sequence[str], jobs: int | None, options: Mapping[str, Any] | None = None
) -> Launcher:
    """The launcher called `name` for the sweep in `out`.

    Raises:
        UsageError: there is no such launcher or device.
        RecipeError: it has no such option.
        MissingExtraError: its package is not installed.
    """
    if name not in LAUNCHERS:
        raise UsageError(f"unknown --launcher '{name}'{did_you_mean(name, LAUNCHERS)}")
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: give the number of runs at once, 1 or more")
    module = import_module(LAUNCHERS[name])
    given = [f"{key}={json.dumps(value)}" for key, value in (options or {}).items()]
    source = f"--launcher {name}"
    settings = validate(module.Options, strict_yaml.parse("{}", source), given, option="--launcher-option ")
    made: Launcher = module.launcher(out, devices, jobs, settings)
    return made


def single_device(devices: Sequence[str], name: str) -> str:
    """The device of every row of a cluster, where GPUs are assigned by the cluster.

    Raises:
        UsageError: there are several, or one with a number.
    """
    if len(devices) != 1 or devices[0] not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"--device {','.join(devices)}: with --launcher {name} choose auto, cpu or cuda; the cluster assigns the "
            "GPUs, and `resources: {gpus: 1}` in the sweep file asks for them"
        )
    return devices[0]
