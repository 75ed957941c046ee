"""`check_coco`: every fault of a data set in one list, before anything is spent on training."""

from pathlib import Path

from lth_deploy.data.coco.document import inspect
from lth_deploy.data.findings import CheckReport, Finding
from lth_deploy.errors import DataError

__all__ = ["CheckReport", "Finding", "check_coco"]


def check_coco(
    annotations: Path, images: Path, decode_images: bool = True, *, drop_degenerate: bool = False
) -> CheckReport:
    """Read the file, find and (unless `decode` is off) decode every image, and report instead of raising."""
    try:
        _, report = inspect(annotations, images, decode_images=decode_images, drop_degenerate=drop_degenerate)
    except DataError as error:
        report = CheckReport()
        report.error(annotations, "file", str(error))
    return report
