"""Sources of detectors: one file a source, and one line of the table. A file is imported when a recipe names it."""

from importlib import import_module
from importlib.metadata import entry_points

from lth_deploy.config.detector_spec import ENTRY_POINTS, AnyDetectorSpec
from lth_deploy.detectors.sources.source import Source
from lth_deploy.errors import RecipeError

FILES = {
    "torchvision": "torchvision_families",
    "module": "user_module",
    "detectron2": "detectron2_configurations",
    "transformers": "transformers_detectors",
    "libreyolo": "libreyolo_detectors",
}
"""The file of each source, which holds it as `SOURCE`."""


def source_of(spec: AnyDetectorSpec) -> Source:
    """The source that a recipe's section names.

    Raises:
        RecipeError: what another package registers under this name cannot be imported, or is no source.
        MissingExtraError: the packages that it needs are not installed.
    """
    if spec.source == "own_trainer":
        raise RecipeError(
            f"detector.source own_trainer: the run of {spec.name} was made by lth_deploy.search_ticket, which had "
            "the network; go on with it there, with resume=True, or take a ticket with lth_deploy.load_ticket"
        )
    if spec.source in FILES:
        found = import_module(f"{__name__}.{FILES[spec.source]}").SOURCE
        assert isinstance(found, Source)
        return found
    entry = next(iter(entry_points(group=ENTRY_POINTS, name=spec.source)))
    try:
        loaded = entry.load()
    except Exception as error:  # anything can happen in a foreign package
        raise RecipeError(
            f"detector.source '{spec.source}': the entry point {entry.value} cannot be imported "
            f"({type(error).__name__}: {error}); repair or remove the package that registers it"
        ) from error
    if not isinstance(loaded, Source):
        raise RecipeError(
            f"detector.source '{spec.source}': the entry point {entry.value} is a {type(loaded).__name__}, which lacks "
            "build or export_form; see docs/sources.md"
        )
    return loaded
