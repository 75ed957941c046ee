"""A detector in an ONNX file: opened by its metadata, asked for detections."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy import storage
from lth_deploy.decoders import Decoder, Photo
from lth_deploy.detections import Detections
from lth_deploy.errors import ArtifactError, InputMismatchError, UsageError
from lth_deploy.run_clock import TimedRun
from lth_deploy.runtimes import RUNTIMES, Session
from lth_deploy.workflow.decoding import decoder_of_file
from lth_deploy.workflow.verify.export_record import check_exported

if TYPE_CHECKING:
    import onnx

    from lth_deploy.compiler.artifact.metadata import ArtifactMetadata
    from lth_deploy.data.records import ImageRecord


@dataclass(frozen=True)
class ModelFile:
    """What is known of a file before an engine loads it.

    class_names: the name of label l at position l - 1, empty when nobody says. packed: whether only engines
    that know model-local functions can load it. regions: nodes that the kernel library can take over.
    quantized: whether it computes with int8. external: whether other files hold a part of it. origin: the file as
    users have it, where `path` is a copy in one piece.
    """

    path: Path
    decoder: Decoder
    class_names: tuple[str, ...]
    metadata: "ArtifactMetadata | None"
    packed: bool
    regions: int = 0
    quantized: bool = False
    external: bool = False
    origin: Path | None = None


@dataclass(frozen=True)
class Artifact:
    """A model file with a session: images in, detections out."""

    file: ModelFile
    session: Session

    def predict(self, image: Photo) -> Detections:
        """Detections in `image`, uint8 [H, W, 3] RGB, best score first.

        Raises:
            ArtifactError: the model or its decoder cannot handle the image; the message says why.
        """
        feeds, context = self.file.decoder.prepare(image)
        with TimedRun():  # what the outputs are decides how long decoding takes
            try:
                outputs = self.session.run(feeds, give_back=True)
            except InputMismatchError as error:
                raise ArtifactError(f"{error}; is the decoder the right one?") from error
            return self.file.decoder.decode(outputs, context)

    def predict_record(self, record: "ImageRecord") -> Detections:
        """As `predict`, of an image of a data set.

        Raises:
            DataError: it cannot be read. ArtifactError: see `predict`.
        """
        from lth_deploy.data.images import read_record

        return self.predict(read_record(record))


def open_artifact(
    path: Path, *, engine: str = "onnxruntime", threads: int = 0, decoder: str | None = None, verify: bool = False
) -> Artifact:
    """Load an ONNX file, or the packed file of a run directory.

    decoder: a registered name or 'FILE.py:function' in place of what the file says. threads: 0 leaves
    the number to the engine. An engine that cannot take packed files gets the dense twin. verify: see `check_exported`.

    Raises:
        ArtifactError: the file is damaged or the engine refuses it.
        UsageError: unknown engine or decoder, or no single decoder fits.
    """
    return open_session(read_model_file(find_artifact(path), decoder, verify=verify), engine=engine, threads=threads)


def open_session(file: ModelFile, *, engine: str, threads: int) -> Artifact:
    """A session for a file that was read before.

    Raises:
        ArtifactError: the engine refuses the file.
        UsageError: unknown engine.
    """
    runtime = RUNTIMES.get(engine)
    taken = not file.packed or runtime.takes_packed
    if taken and not file.external:
        return Artifact(file, runtime.load(file.path, threads=threads))
    with storage.scratch("twin") as folder:
        if taken:
            twin = in_one_file(file, folder).path
        else:
            twin = write_dense_twin(file, folder / f"{file.path.stem}-dense.onnx")
        return Artifact(file, runtime.load(twin, threads=threads))


def read_model_file(path: Path, decoder: str | None = None, *, verify: bool = False) -> ModelFile:
    """Check a file and find out how to talk to it; `decoder` overrules the metadata. verify: see `check_exported`.

    Raises:
        ArtifactError: the file is damaged.
        UsageError: no single decoder fits, or the name is unknown.
    """
    from lth_deploy.compiler.artifact.load import read_model
    from lth_deploy.compiler.artifact.metadata import read_metadata
    from lth_deploy.compiler.quantization.quantize_ticket import is_quantized

    check_exported(path, verify=verify)
    loaded = read_model(path)
    model = loaded.model
    metadata = read_metadata(model)
    chosen = decoder_of_file(path, model, metadata, decoder).decoder
    names = tuple(entry.name for entry in metadata.classes) if metadata is not None else ()
    return ModelFile(
        path,
        chosen,
        names or chosen.class_names or (),
        metadata,
        has_packed_weights(model),
        count_regions(model),
        is_quantized(model),
        loaded.external_bytes > 0,
    )


def has_packed_weights(model: "onnx.ModelProto") -> bool:
    """Whether the model contains nodes of lth_deploy's own domain."""
    from lth_deploy.compiler.artifact.domain import DOMAIN

    return any(entry.domain == DOMAIN for entry in model.opset_import)


def count_regions(model: "onnx.ModelProto") -> int:
    """How many nodes of the model the kernel library runs."""
    from lth_deploy.compiler.artifact.domain import DOMAIN, REGION_NAMES

    return sum(node.domain == DOMAIN and node.op_type in REGION_NAMES for node in model.graph.node)


def in_one_file(file: ModelFile, folder: Path) -> ModelFile:
    """The file itself where it is in one piece; else a copy in `folder` that holds its external data.

    Engines never read external data by themselves: only `load_model` checks where they lie.

    Raises:
        ArtifactError: the file or its external data changed and are damaged now.
    """
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.compiler.model.save import save_model

    if not file.external:
        return file
    copy = folder / file.path.name
    save_model(load_model(file.path), copy)
    return replace(file, path=copy, external=False, origin=file.path)


def content_digest(file: ModelFile) -> str:
    """SHA-256 of the file; of its copy in one piece where it has external data, which belong to the content."""
    import hashlib

    from lth_deploy import storage
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.compiler.model.save import to_bytes

    return hashlib.sha256(to_bytes(load_model(file.path))).hexdigest() if file.external else storage.sha256(file.path)


def write_dense_twin(file: ModelFile, out: Path) -> Path:
    """Write the same weights as plain ONNX to `out`, for engines without functions, and return `out`.

    Raises:
        ArtifactError: the packed weights are damaged.
    """
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.compiler.importing.unpacked import unpack_model
    from lth_deploy.compiler.model.save import save_model

    save_model(unpack_model(load_model(file.path)), out)
    return out


def find_artifact(path: Path) -> Path:
    """`path` itself when it is a file; of a run directory, the one packed file that `export` wrote.

    Raises:
        UsageError: the run was not exported, or there are several files to choose from.
        ArtifactError: there is nothing at `path`.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise ArtifactError(f"no such file or run directory: {path}; give an .onnx file or an exported run")
    folder = path / "export" if (path / "export").is_dir() else path
    found = sorted(file for file in folder.glob("*.onnx") if not file.stem.startswith("dense"))
    if not found:
        raise UsageError(f"{path} has no exported ONNX file; run: lth-deploy export {path}")
    if len(found) > 1:
        raise UsageError(f"{folder} has several files: {', '.join(file.name for file in found)}; give the path of one")
    return found[0]
