"""What a campaign came to: a table to read, and the facts of the machine that its file of figures begins with."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("lth-deploy", "numpy", "onnx", "onnxruntime", "pillow", "pydantic", "safetensors", "torch")


def machine_facts(project: Path) -> dict[str, Any]:
    """Processor, cores, versions, and the commit that was tried."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, timeout=300)
    return {
        "schema": "lth-fuzz/1",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": found,
        "commit": commit.stdout.strip() or None,
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each target, and one for each group of faults."""
    lines = [f"{'target':24} {'inputs':>9} {'seconds':>8} {'faults':>6}  outcomes"]
    for name, entry in figures.items():
        outcomes = entry.get("exit_codes") or entry.get("outcomes") or {}
        said = ", ".join(f"{key}: {count}" for key, count in outcomes.items())
        note = entry.get("note", "")
        lines.append(
            f"{name:24} {entry['inputs']:>9} {entry['seconds']:>8} {len(entry['faults']):>6}  {said} {note}".rstrip()
        )
        lines += [f"  {key} ({group['count']})" for key, group in entry["faults"].items()]
    return "\n".join(lines)
