"""lth_deploy: find sparse detector tickets, pack them into one ONNX file, and measure what that buys.

The verbs of the command line are functions of the same names; each is imported when it is first used, so that
`import lth_deploy` loads neither torch nor ONNX. `session` opens an exported file in ONNX Runtime with the kernels.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lth_deploy.config.recipe import load_recipe
    from lth_deploy.config.sweep_spec import load_sweep
    from lth_deploy.kernels.library import ops_library
    from lth_deploy.run.callbacks import Callback
    from lth_deploy.runtimes.onnxruntime import session
    from lth_deploy.training.held.foreign_masks import masks_of
    from lth_deploy.training.held.hold import hold
    from lth_deploy.workflow.analyze.analyze import analyze
    from lth_deploy.workflow.artifact import open_artifact
    from lth_deploy.workflow.benchmark.benchmark import benchmark
    from lth_deploy.workflow.evaluate import evaluate
    from lth_deploy.workflow.export.detectron2.files import Detectron2Files
    from lth_deploy.workflow.export.detectron2.from_detectron2 import export_detectron2
    from lth_deploy.workflow.export.from_onnx import export_onnx
    from lth_deploy.workflow.export.from_run import export
    from lth_deploy.workflow.inspect.inspect import inspect_artifact as inspect
    from lth_deploy.workflow.predict import predict
    from lth_deploy.workflow.report import report
    from lth_deploy.workflow.search.find_ticket import find_ticket
    from lth_deploy.workflow.search.search_ticket import load_ticket, search_ticket
    from lth_deploy.workflow.sweep.sweep import sweep
    from lth_deploy.workflow.verify.verify import verify

try:
    __version__ = version("lth-deploy")
except PackageNotFoundError:
    __version__ = "0"

__all__ = [
    "Callback",
    "Detectron2Files",
    "analyze",
    "benchmark",
    "evaluate",
    "export",
    "export_detectron2",
    "export_onnx",
    "find_ticket",
    "hold",
    "inspect",
    "load_recipe",
    "load_sweep",
    "load_ticket",
    "masks_of",
    "open_artifact",
    "ops_library",
    "predict",
    "report",
    "search_ticket",
    "session",
    "sweep",
    "verify",
]

_HOMES = {
    "Callback": "lth_deploy.run.callbacks",
    "Detectron2Files": "lth_deploy.workflow.export.detectron2.files",
    "analyze": "lth_deploy.workflow.analyze.analyze",
    "benchmark": "lth_deploy.workflow.benchmark.benchmark",
    "evaluate": "lth_deploy.workflow.evaluate",
    "export": "lth_deploy.workflow.export.from_run",
    "export_detectron2": "lth_deploy.workflow.export.detectron2.from_detectron2",
    "export_onnx": "lth_deploy.workflow.export.from_onnx",
    "find_ticket": "lth_deploy.workflow.search.find_ticket",
    "hold": "lth_deploy.training.held.hold",
    "inspect": "lth_deploy.workflow.inspect.inspect",
    "load_recipe": "lth_deploy.config.recipe",
    "load_sweep": "lth_deploy.config.sweep_spec",
    "load_ticket": "lth_deploy.workflow.search.search_ticket",
    "masks_of": "lth_deploy.training.held.foreign_masks",
    "open_artifact": "lth_deploy.workflow.artifact",
    "ops_library": "lth_deploy.kernels.library",
    "predict": "lth_deploy.workflow.predict",
    "report": "lth_deploy.workflow.report",
    "search_ticket": "lth_deploy.workflow.search.search_ticket",
    "session": "lth_deploy.runtimes.onnxruntime",
    "sweep": "lth_deploy.workflow.sweep.sweep",
    "verify": "lth_deploy.workflow.verify.verify",
}
_NAMES = {"inspect": "inspect_artifact"}  # where the function has another name in its module


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lth_deploy' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), _NAMES.get(name, name))
