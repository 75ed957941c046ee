"""Loading a COCO annotation file, or refusing it with everything that is wrong with it."""

import logging
from pathlib import Path

from lth_deploy.data.coco.document import inspect
from lth_deploy.data.findings import CheckReport
from lth_deploy.data.records import Annotation, Category, CocoDataset, ImageRecord
from lth_deploy.errors import DataError

__all__ = ["Annotation", "Category", "CocoDataset", "ImageRecord", "load_coco"]

FAULTS_SHOWN = 20
_NOTICES_LOGGED = 5

log = logging.getLogger(__name__)


def load_coco(
    annotations: Path, images: Path, *, decode_images: bool = False, drop_degenerate: bool = False
) -> CocoDataset:
    """Read and check a data set; what had to be filled in is logged.

    `decode_images` also decodes every image file; without it they only have to exist. `drop_degenerate`
    leaves out boxes without width or height (the original COCO train2017 has some) instead of refusing them.

    Raises:
        DataError: there is a fault; the message has the first 20 of them, and how many there are.
    """
    dataset, report = inspect(annotations, images, decode_images=decode_images, drop_degenerate=drop_degenerate)
    if not report.passed:
        raise DataError(explain(annotations, report))
    notices = report.of("notice")
    for notice in notices[:_NOTICES_LOGGED]:
        log.warning("%s", notice)
    if report.counts["notices"] > _NOTICES_LOGGED:
        log.warning(
            "%s: %d more notices; see them with: lth-deploy data check",
            annotations,
            report.counts["notices"] - _NOTICES_LOGGED,
        )
    return dataset


def explain(annotations: Path, report: CheckReport) -> str:
    """The first faults of a failed check, one a line, under their number."""
    shown = report.of("error")[:FAULTS_SHOWN]
    total = report.counts["errors"]
    head = f"{annotations}: {total} fault{'s' if total != 1 else ''} in the data set"
    lines = [f"  {finding}" for finding in shown]
    if total > len(shown):
        lines.append(f"  and {total - len(shown)} more")
    return "\n".join([head, *lines, "repair the files; lth-deploy data check lists what is wrong"])
