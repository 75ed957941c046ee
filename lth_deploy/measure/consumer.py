"""What a consumer in another language measured, on a machine that may have neither Python nor the data set."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lth_deploy.measure.machine import Machine
from lth_deploy.measure.reports import checked_json

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ModelFacts(_Part):
    """The file that ran."""

    path: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Count


class Detection(_Part):
    """One COCO result; bbox is x, y, width, height."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]]
    score: float


class ConsumerReport(_Part):
    """The JSON of `lth_consumer --bench`.

    library: the kernel library that was registered. forced_isa: LTH_ISA there. emulated: ran under qemu, so that
    times and memory are those of the emulator. images: all that `detections` were looked for in.
    """

    schema_: Literal["lth-consumer/1"] = Field(alias="schema")
    when: str
    model: ModelFacts
    machine: Machine
    emulated: bool
    onnxruntime: str
    library: str | None
    forced_isa: str | None
    threads: Annotated[int, Field(ge=1)]
    load_ms: Positive
    first_ms: Positive
    base_rss_bytes: Count
    peak_rss_bytes: Count
    p50_ms: Positive
    p90_ms: Positive
    samples_ms: Annotated[list[Positive], Field(min_length=1)]
    images: list[int] | None
    detections: list[Detection] | None

    @model_validator(mode="after")
    def _detections_belong_to_images(self) -> "ConsumerReport":
        found = {one.image_id for one in self.detections or ()}
        if (self.images is None) != (self.detections is None) or not found <= set(self.images or ()):
            raise ValueError("images must be all that have detections, and be there exactly when those are")
        return self

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> "ConsumerReport":
        """Read a report.

        Raises:
            DataError: not JSON, another schema, or a wrong value; the message names `source` and the place.
        """
        return checked_json(cls, text, source, "lth_consumer --bench")
