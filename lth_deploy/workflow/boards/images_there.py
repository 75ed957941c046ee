"""Images of a data set that boards read themselves: what their files are, and how each becomes an input of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_deploy import storage
from lth_deploy.boards.image_files import ImageFile
from lth_deploy.boards.tensors import element_type
from lth_deploy.decoders import Decoder
from lth_deploy.decoders.image.plan import InputPlan, planner_of
from lth_deploy.decoders.image.preprocessing import pad_bytes
from lth_deploy.errors import DataError, UsageError
from lth_deploy.resampling import height_first
from lth_deploy.workflow.artifact import ModelFile

if TYPE_CHECKING:
    from lth_deploy.data.images import Header
    from lth_deploy.data.records import ImageRecord

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class ImagesThere:
    """The SHA-256 and the header of each image, by its id; paths: of the files, by their SHA-256."""

    digests: Mapping[int, str]
    headers: "Mapping[int, Header]"
    paths: Mapping[str, Path]

    def input_of(self, decoder: Decoder, record: "ImageRecord") -> tuple[ImageFile, Any]:
        """What makes the inputs of an image on a board, and the context that the decoder needs for the outputs."""
        header = self.headers[record.id]
        planner = planner_of(decoder)
        assert planner is not None
        width, height = header.size
        plan, context = planner.plan(height, width)
        keys = ["stored", f"{header.stored[1]}x{header.stored[0]}", "orientation", str(header.orientation or 1)]
        digest = self.digests[record.id]
        return ImageFile(digest, record.file_name, plan.name, (*keys, *_keys(plan)), plan.others), context


def hold_planners(files: Sequence[ModelFile]) -> None:
    """Refuse models whose images a board cannot prepare.

    Raises:
        UsageError: a decoder is code of the user's own, or asks for bytes that are no pixels.
    """
    for file in files:
        planner = planner_of(file.decoder)
        plan = planner.plan(64, 64)[0] if planner is not None else None
        if plan is None or (plan.dtype == "uint8" and not plan.how.keeps_values):
            raise UsageError(
                f"--read-images board: images for {file.path.name} are prepared by a decoder that boards do not have; "
                "leave the option out"
            )


def images_there(records: "Sequence[ImageRecord]") -> ImagesThere:
    """What boards have to know of image files.

    Raises:
        DataError: a file is missing or damaged in its header, is no JPEG or PNG, or has another size than its
            annotations say.
    """
    from lth_deploy.data.images import check_size
    from lth_deploy.data.json_values import FaultError, printable

    digests, headers, paths = dict[int, str](), dict[int, "Header"](), dict[str, Path]()
    for record in records:
        try:
            header = _header(record.path)
            check_size(header, record)
        except FaultError as fault:
            raise DataError(f"{printable(record.path)}: image {record.id}: {fault}") from fault
        digest = storage.sha256(record.path)
        digests[record.id], headers[record.id], paths[digest] = digest, header, record.path
    return ImagesThere(digests, headers, paths)


def _header(path: Path) -> "Header":
    from lth_deploy.data.images import decode, read_header
    from lth_deploy.data.json_values import FaultError

    header = read_header(path)
    content = path.read_bytes()
    if not content.startswith((_JPEG, _PNG)):
        raise FaultError("boards read JPEG and PNG only; convert it, or leave out --read-images board")
    # The EXIF block of a PNG may lie behind its pixels, where only decoding finds it.
    return decode(path)[1] if content.startswith(_PNG) and b"eXIf" in content else header


def _keys(plan: InputPlan) -> list[str]:
    """As export/consumers/cpp/image_input.h has them."""
    how, where = plan.how, plan.where
    keys = ["type", str(element_type(plan.dtype)), "layout", plan.layout, "order", how.color]
    if not how.keeps_values:
        keys += ["values", _numbers(how.scale, *how.mean, *how.std)]
    if how.fit == "as-is":
        return [*keys, "resize", "none"]
    keys += ["canvas", f"{where.input_height}x{where.input_width}", "pad", _numbers(*pad_bytes(how).tolist())]
    if how.grid == "integer":
        return [*keys, "resize", "affine", "affine", _numbers(where.scale_y, where.top, where.left)]
    keys += ["inner", "x".join(map(str, plan.inner)), "corner", f"{int(where.top)}x{int(where.left)}"]
    first = "height" if height_first(where.height, where.width, *plan.inner) else "width"
    return [*keys, "resize", how.resample, "first", first]


def _numbers(*values: float) -> str:
    return ",".join(map(repr, values))
