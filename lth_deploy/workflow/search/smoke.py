"""`--smoke`: a recipe cut down to two steps on generated data, to prove in a minute that every part of it runs."""

from pathlib import Path

from lth_deploy.config.bundled import recipe_file, recipe_names
from lth_deploy.config.detector_spec import NAMED_WEIGHTS, SOURCES, AnyDetectorSpec, DetectorSpec
from lth_deploy.config.recipe import DataSpec, Recipe, ShapesSpec, SplitSpec, load_recipe
from lth_deploy.config.search_spec import ControlsSpec, EarlyMasksSpec, PruningSpec, RewindSpec, SourceSpec
from lth_deploy.config.validation import unset_variables
from lth_deploy.errors import RecipeError
from lth_deploy.workflow.require_extra import require_torch
from lth_deploy.workflow.search.varied_weights import write_varied_weights

SHAPES = ShapesSpec(train=4, val=2, test=2, width=96, height=96)
CLASSES, KEYPOINTS = 3, 4
GENTLE_LR = 1e-4
"""Two steps at a full rate leave weights that norms, frozen or slow, have not followed."""


def smoke_recipe(recipe: Recipe, weights: Path, sources: Path | None = None, device: str = "cpu") -> Recipe:
    """The same detector, optimizer and pruning axes in two steps a trial; writes its initial weights to `weights`.

    Pyramid and heads are narrowed, so that the COCO recipes too take seconds.

    A detector that has hardly trained scores everything alike, and then no two implementations rank its boxes in
    the same order. So the smoke run starts from weights whose scores differ, which gives parity something to hold.

    A source is searched first, as the smoke of the bundled recipe that its run directory is named after, in the folder
    `sources`, on `device`; one that is there already serves again.

    Raises:
        MissingExtraError: torch is not installed.
        DataError: the weights that the recipe begins with are a file that does not exist.
        RecipeError: no bundled recipe has the name of the source's run directory.
    """
    require_torch("a smoke run")
    _hold_weights_present(recipe.detector)
    level = recipe.pruning.level_list()[-1]
    optimizer = recipe.training.optimizer
    if not isinstance(recipe.detector, DetectorSpec):
        optimizer = optimizer.model_copy(update={"lr": min(optimizer.lr, GENTLE_LR)})
    training = {
        "optimizer": optimizer,
        "steps": 2,
        "epochs": None,
        "batch_size": min(recipe.training.batch_size, 2),
        "precision": "fp32",
        "compile": False,
        "accumulate": 1,
    }
    images = weights.with_name(f"{weights.name}.images")
    small = recipe.model_copy(
        update={
            "name": f"{recipe.name}.smoke",
            "detector": _smoke_detector(recipe.detector),
            "data": _smoke_data(recipe, images),
            "training": recipe.training.model_copy(update=training),
            "pruning": _smoke_pruning(recipe.pruning, level),
            "quantization": recipe.quantization.model_copy(update=_quantization(recipe, level)),
            "controls": recipe.controls.model_copy(update={"random": [level], "reinit": []}),
            "source": _smoke_source(recipe, level, sources or weights.with_name(f"{weights.name}.sources"), device),
        }
    )
    write_varied_weights(small, weights, CLASSES, KEYPOINTS)
    return small.model_copy(update={"detector": small.detector.model_copy(update={"weights": str(weights)})})


def _hold_weights_present(detector: AnyDetectorSpec) -> None:
    """Refuse weights that the search itself would refuse at once; nothing is read of them here."""
    from lth_deploy.detectors.weights import require_file

    named = detector.source not in SOURCES or detector.weights in NAMED_WEIGHTS
    if not named and not unset_variables(detector.weights):
        require_file(Path(detector.weights))


def _smoke_pruning(pruning: PruningSpec, level: float) -> PruningSpec:
    """The same axes at one level; what counts steps counts one."""
    changes: dict[str, object] = {"levels": [level], "rewind": RewindSpec(step=1)}
    if pruning.schedule == "progressive":
        changes["progressive"] = pruning.progressive.model_copy(update={"rounds": 1, "begin": 0.0, "end": 0.9})
    if pruning.early_masks is not None:
        changes["early_masks"] = EarlyMasksSpec(every=1, take=None if pruning.early_masks.take is None else 1)
    return pruning.model_copy(update=changes)


def _smoke_detector(detector: AnyDetectorSpec) -> AnyDetectorSpec:
    """The detector without weights; one of torchvision's is narrowed, others are as large as in their recipe."""
    if not isinstance(detector, DetectorSpec):
        return detector.model_copy(update={"weights": "none", "score_threshold": 0.0})
    changes: dict[str, object] = {
        "weights": "none",
        "min_size": 96,
        "max_size": 128,
        "proposals": 40,
        "detections": 8,
        "score_threshold": 0.0,
    }
    if detector.layout == "fpn":
        widths = {"fpn_width": 64, "head_width": 128}
        changes |= {key: min(getattr(detector, key), most) for key, most in widths.items()}
    return detector.model_copy(update=changes)


def _quantization(recipe: Recipe, level: float) -> dict[str, object]:
    levels = [level] if recipe.quantization.levels else []
    return {"levels": levels, "steps": 2, "epochs": None, "calibration_batches": 1}


def _smoke_data(recipe: Recipe, images: Path) -> DataSpec:
    if recipe.detector.name != "classifier":
        return DataSpec(format="shapes", shapes=SHAPES)
    splits = {name: SplitSpec(images=str(images / name)) for name in ("train", "val", "test")}
    for split in splits.values():
        _draw_classes(Path(split.images))
    return DataSpec(format="folder", **splits)


def _draw_classes(root: Path) -> None:
    """An image folder of as many classes as shapes have, a gray each."""
    import numpy as np

    from lth_deploy import storage
    from lth_deploy.reporting.drawing.detections import encode_png

    for label in range(CLASSES):
        for number in range(2):
            noise = np.random.default_rng(number).integers(0, 60, (112, 120, 3)) + 60 * label
            storage.write_bytes(root / f"class{label}" / f"{number}.png", encode_png(noise.astype(np.uint8)))


def _smoke_source(recipe: Recipe, level: float, folder: Path, device: str) -> SourceSpec | None:
    from lth_deploy.workflow.search.find_ticket import find_ticket

    if recipe.source is None:
        return None
    name = Path(recipe.source.run).name
    run = folder / f"{name}-{level:g}"
    if not (run / "summary.json").exists():
        bundled = next((other for other in recipe_names() if Path(other).name == name), None)
        if bundled is None:
            raise RecipeError(
                f"--smoke makes the source too, and no bundled recipe is called '{name}' as source.run is"
            )
        source = load_recipe(recipe_file(bundled), check_variables=False)
        source = source.model_copy(update={"pruning": source.pruning.model_copy(update={"levels": [level]})})
        small = smoke_recipe(source, folder / f"{name}-{level:g}.safetensors", folder, device)
        gentle = small.training.optimizer.model_copy(update={"lr": GENTLE_LR})
        training = small.training.model_copy(update={"optimizer": gentle})
        without_controls = small.model_copy(update={"controls": ControlsSpec(), "training": training})
        find_ticket(without_controls, run, device=device, resume=(run / "manifest.json").exists())
    return recipe.source.model_copy(update={"run": str(run)})
