"""Where the channels of a value lie: along axis 1 of images and of rows, along the last axis of tokens."""

from enum import Enum

from onnx import NodeProto


class Place(Enum):
    """The axis of the channels, from the front and from the back; that of tokens, of any rank, from the back alone."""

    IMAGES = (1, -3)
    ROWS = (1, -1)
    TOKENS = (-1,)

    def is_axis(self, axis: int | None) -> bool:
        """Whether an attribute of a node names the axis of the channels."""
        return axis in self.value

    def fits(self, shape: tuple[int, ...], channels: int) -> bool:
        """Whether a constant of this shape has one number for all, or one for each channel, and adds no axis."""
        rank = {Place.IMAGES: 4, Place.ROWS: 2}.get(self, max(len(shape), 1))
        dims = (1,) * (rank - len(shape)) + shape
        sizes = ((1, channels) if self.is_axis(axis - rank) else (1,) for axis in range(rank))
        return len(dims) == rank and all(size in known for size, known in zip(dims, sizes, strict=True))


def written_by(node: NodeProto) -> Place:
    """Where a layer writes its channels."""
    return {"Conv": Place.IMAGES, "Gemm": Place.ROWS}.get(node.op_type, Place.TOKENS)


def is_read_by(place: Place, node: NodeProto) -> bool:
    """Whether a layer multiplies the channels of a value that has them at `place`."""
    return (place is Place.IMAGES) == (node.op_type == "Conv")
