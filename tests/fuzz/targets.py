"""The table of targets whose inputs go through the command line in a forked child."""

from tests.fuzz import (
    target_coco,
    target_images,
    target_metadata,
    target_onnx,
    target_runs,
    target_voc,
    target_yaml,
)
from tests.fuzz.campaign import Target
from tests.fuzz.child import Limits

_BASE = (
    "lth_deploy.cli",
    *(f"lth_deploy.commands.{name}" for name in ("export", "evaluate", "predict", "inspect", "data")),
    *("numpy", "PIL.Image", "yaml"),
)
_MODELS = (
    *_BASE,
    "onnx",
    "onnxruntime",
    "lth_deploy.workflow.inspect.inspect",
    "lth_deploy.workflow.inspect.text",
    "lth_deploy.workflow.export.from_onnx",
    "lth_deploy.workflow.evaluate",
    "lth_deploy.workflow.predict",
    "lth_deploy.workflow.limits.limited_runs",
    "lth_deploy.decoders",
    "lth_deploy.kernels",
    "onnx.version_converter",
    "onnx.reference",
    "tests.fuzz.forked_tasks",
)
_DATA = (*_BASE, "lth_deploy.workflow.data", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.WebPImagePlugin")
_SEARCH = (
    *_MODELS,
    "torch",
    "torchvision",
    "lth_deploy.workflow.search.find_ticket",
    "lth_deploy.workflow.sweep.sweep",
    "lth_deploy.workflow.export.from_run",
    "lth_deploy.workflow.report",
    "lth_deploy.workflow.analyze.analyze",
    "lth_deploy.workflow.inspect.run",
    "lth_deploy.pruning.search.search",
    "lth_deploy.detectors",
    "lth_deploy.data.batches.loader",
    "matplotlib.pyplot",
)

_SEARCH_LIMITS = Limits(memory=3 << 30, cpu=60)

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("onnx", target_onnx.prepare, target_onnx.draw, _MODELS),
        Target("metadata", target_metadata.prepare, target_metadata.draw, _MODELS),
        Target("yaml", target_yaml.prepare, target_yaml.draw, _SEARCH),
        Target("coco", target_coco.prepare, target_coco.draw, (*_MODELS, *_DATA)),
        Target("voc", target_voc.prepare, target_voc.draw, _DATA),
        Target("images", target_images.prepare, target_images.draw, (*_MODELS, *_DATA)),
        Target("runs", target_runs.prepare, target_runs.draw, _SEARCH),
        # A search of its own, of a few seconds: left out of short campaigns.
        Target(
            "trained", target_runs.prepare_trained, target_runs.draw_trained, _SEARCH, Limits(memory=3 << 30, cpu=60)
        ),
    )
}
SHORT = tuple(name for name in TARGETS if name != "trained")
