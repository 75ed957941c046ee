"""The folder of COCO 2017 as it is unpacked: which files belong there, and how many images and objects they have."""

from dataclasses import dataclass, field
from pathlib import Path

from lth_deploy import storage
from lth_deploy.data.coco.check import check_coco
from lth_deploy.data.findings import Finding
from lth_deploy.data.images import is_image_name
from lth_deploy.errors import DataError

CATEGORIES = 80
ARCHIVE = "annotations_trainval2017.zip"


@dataclass(frozen=True)
class KnownFile:
    """An annotation file of COCO 2017 with the numbers that it was published with.

    images: the folder of its images, which an archive of the same name holds. needed: by recipes for boxes and masks.
    """

    name: str
    images: str
    image_count: int
    annotation_count: int
    categories: int = CATEGORIES
    needed: bool = True

    @property
    def path(self) -> str:
        """Where it lies below the folder of the data set."""
        return f"annotations/{self.name}.json"


KNOWN_FILES = (
    KnownFile("instances_train2017", "train2017", 118_287, 860_001),
    KnownFile("instances_val2017", "val2017", 5_000, 36_781),
    KnownFile("person_keypoints_train2017", "train2017", 118_287, 262_465, categories=1, needed=False),
    KnownFile("person_keypoints_val2017", "val2017", 5_000, 11_004, categories=1, needed=False),
)


@dataclass
class FileReport:
    """What was found of one annotation file and its images.

    problems: what keeps recipes from using it, and what to do. present: image files in the folder. digest: SHA-256 of
    the annotation file, to compare two machines by.
    """

    name: str
    state: str = "complete"
    digest: str | None = None
    images: int = 0
    annotations: int = 0
    present: int = 0
    problems: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def check_layout(
    folder: Path, *, decode_images: bool = False, known: tuple[KnownFile, ...] = KNOWN_FILES
) -> list[FileReport]:
    """Check every annotation file of COCO 2017 below `folder`, with all images that it names.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        archives = f"{ARCHIVE}, train2017.zip and val2017.zip"
        raise DataError(f"{folder} is no folder; give the one that {archives} were unpacked in")
    return [_checked(folder, one, decode_images) for one in known]


def _checked(folder: Path, known: KnownFile, decode_images: bool) -> FileReport:
    report, file, images = FileReport(known.name), folder / known.path, folder / known.images
    if images.is_dir():
        report.present = sum(is_image_name(one) for one in images.iterdir())
    if not file.is_file():
        report.state = "missing" if known.needed else "absent"
        if known.needed:
            report.problems.append(f"{known.path} is missing; unpack {ARCHIVE} in {folder}")
        return report
    report.digest = storage.sha256(file)
    if not images.is_dir():
        report.problems.append(f"the folder {known.images} is missing; unpack {known.images}.zip in {folder}")
    else:
        found = check_coco(file, images, decode_images, drop_degenerate=True)
        report.images, report.annotations = found.counts["images"], found.counts["annotations"]
        report.findings = found.of("error")
        report.problems += _against(known, report, found.counts["categories"])
        if not found.passed:
            report.problems.append(f"{found.counts['errors']} faults, of which the first is: {report.findings[0]}")
    report.state = "faulty" if report.problems else "complete"
    return report


def _against(known: KnownFile, report: FileReport, categories: int) -> list[str]:
    """Where the numbers are others than those of the published data set."""
    problems = []
    if report.present < known.image_count:
        problems.append(
            f"{known.images} has {report.present} of {known.image_count} images; unpack {known.images}.zip again"
        )
    for what, found, published in (
        ("images", report.images, known.image_count),
        ("categories", categories, known.categories),
    ):
        if found != published:
            problems.append(f"{known.path} has {found} sound {what} and was published with {published}")
    # Objects without width or height are left out here as in training; there are some in the published files.
    if not 0.9999 * known.annotation_count <= report.annotations <= known.annotation_count:
        problems.append(
            f"{known.path} has {report.annotations} sound annotations and was published with {known.annotation_count}"
        )
    return problems
