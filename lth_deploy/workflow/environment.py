"""`checks`: what is installed here, what this machine is, and what that means for the verbs."""

from dataclasses import dataclass

from lth_deploy.errors import MissingLibraryError, UsageError
from lth_deploy.kernels import ops_library
from lth_deploy.kernels.in_use import kernels_in_use
from lth_deploy.run.directory import versions

# Versions below these have known holes or break what lth_deploy relies on.
MINIMUM = {"torch": (2, 11), "onnx": (1, 21), "onnxruntime": (1, 18), "numpy": (1, 26)}
# The first release in which a file from outside can no longer make the engine read other files.
HARDENED_ONNXRUNTIME = (1, 28)

_UNKNOWN = "unknown: the library does not say"


@dataclass(frozen=True)
class Environment:
    """Facts by name, and warnings in words."""

    facts: dict[str, str]
    warnings: list[str]


def check_environment() -> Environment:
    """Look at packages, kernels, processor and GPU; imports torch only where it is installed."""
    from lth_deploy.measure.machine import describe_machine

    found = versions()
    machine = describe_machine()
    facts = {**found, "processor": machine.cpu, "cores": str(machine.cores), "device": _device(found)}
    warnings = _warnings(found)
    try:
        library = ops_library()
    except MissingLibraryError as error:
        facts["kernel library"] = "none: exported files run at the speed of stock ONNX Runtime"
        warnings.append(str(error))
        return Environment(facts, warnings)
    facts["kernel library"] = str(library)
    try:
        used = kernels_in_use(library)
    except UsageError as error:
        warnings.append(str(error))
        return Environment(facts, warnings)
    facts["kernels in use"] = used.isa if used else _UNKNOWN
    facts["tuning record"] = used.tuning if used else _UNKNOWN
    return Environment(facts, warnings)


def _device(found: dict[str, str]) -> str:
    if "torch" not in found:
        return "cpu (torch is not installed)"
    try:
        import torch
    except (ImportError, OSError) as error:
        return f"cpu (torch does not load: {error})"
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _warnings(found: dict[str, str]) -> list[str]:
    warnings = [
        f"{name} {found[name]} is older than {'.'.join(map(str, least))}; update it"
        for name, least in MINIMUM.items()
        if name in found and _number(found[name]) < least
    ]
    if "torch" not in found or "torchvision" not in found:
        warnings.append("find-ticket and export of a run need: pip install 'lth-deploy[train]'")
    if _number(found.get("onnxruntime", "99.0")) < HARDENED_ONNXRUNTIME:
        warnings.append("load only ONNX files that you trust: this onnxruntime predates 1.28's hardening")
    return warnings


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+")[0].split(".")[:2] if part.isdigit())
