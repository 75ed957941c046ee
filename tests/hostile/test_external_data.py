"""External data is read when it lies beside the model, and nothing else on the disk is ever opened."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.load import check_model, load_model, read_model
from lth_deploy.compiler.model.save import to_bytes
from lth_deploy.compiler.model.traverse import all_tensors
from lth_deploy.errors import ArtifactError
from tests.hostile.make_corpus import valid
from tests.tiny_artifact import save_data, save_decoder, tiny_model

DATA = "net.onnx.data"


def save_external(model: ModelProto, path: Path) -> Path:
    """As torch's exporter does: weights in one file beside the model."""
    copy = ModelProto.FromString(model.SerializeToString())
    onnx.save_model(
        copy, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=DATA, size_threshold=64
    )
    return path


def put_outside(tensor: TensorProto, location: str, **more: object) -> None:
    """Let a tensor claim that its data are in a file."""
    tensor.ClearField("raw_data")
    tensor.ClearField("external_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))


def first(model: ModelProto) -> TensorProto:
    return next(one for one in model.graph.initializer if one.name == "first.weight")


def written(model: ModelProto, folder: Path) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_model_with_external_data_is_the_same_model(tmp_path: Path) -> None:
    model = tiny_model(zeros=0.5)
    loaded = read_model(save_external(model, tmp_path / "net.onnx"))
    assert (tmp_path / DATA).stat().st_size >= loaded.external_bytes > 4 * 16 * 27
    assert to_bytes(loaded.model) == to_bytes(model)
    assert not any(tensor.external_data for tensor in all_tensors(loaded.model))


def test_data_may_lie_in_a_folder_inside(tmp_path: Path) -> None:
    model = tiny_model()
    values = numpy_helper.to_array(first(model))
    (tmp_path / "weights" / "deep").mkdir(parents=True)
    (tmp_path / "weights" / "deep" / "w.bin").write_bytes(b"1234" + values.tobytes())
    put_outside(first(model), "./weights/deep/w.bin", offset=4)
    assert np.array_equal(numpy_helper.to_array(first(load_model(written(model, tmp_path)))), values)


def _in_constant(model: ModelProto) -> TensorProto:
    node = helper.make_node("Constant", [], ["unused"], value=numpy_helper.from_array(np.zeros(4, np.float32)))
    model.graph.node.insert(0, node)
    return model.graph.node[0].attribute[0].t


def _in_branch(model: ModelProto) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "inner")
    graph = helper.make_graph([], "branch", [], [helper.make_tensor_value_info("inner", 1, [4])], [tensor])
    model.graph.node.append(helper.make_node("If", ["c"], ["unused"], then_branch=graph, else_branch=graph))
    return model.graph.node[-1].attribute[0].g.initializer[0]


def _in_function_branch(model: ModelProto) -> TensorProto:
    _in_branch(model)
    node = model.graph.node.pop()
    function = helper.make_function("local", "F", ["c"], ["unused"], [node], [helper.make_opsetid("", 18)])
    model.functions.append(function)
    return model.functions[0].node[0].attribute[0].g.initializer[0]


def _in_function_default(model: ModelProto) -> TensorProto:
    _in_function_branch(model)
    default = helper.make_attribute("value", numpy_helper.from_array(np.zeros(4, np.float32)))
    model.functions[0].attribute_proto.append(default)
    return model.functions[0].attribute_proto[0].t


def _in_sparse(model: ModelProto) -> TensorProto:
    values = numpy_helper.from_array(np.ones(4, np.float32), "sparse")
    indices = numpy_helper.from_array(np.arange(4))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [8]))
    return model.graph.sparse_initializer[0].values


def _in_sparse_attribute(model: ModelProto) -> TensorProto:
    _in_sparse(model)
    sparse = model.graph.sparse_initializer.pop()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], sparse_value=sparse))
    return model.graph.node[0].attribute[0].sparse_tensor.values


def _in_training(model: ModelProto) -> TensorProto:
    model.training_info.add().algorithm.initializer.append(numpy_helper.from_array(np.zeros(4, np.float32), "t"))
    return model.training_info[0].algorithm.initializer[0]


PLACES = [
    first, _in_constant, _in_branch, _in_function_branch, _in_function_default, _in_sparse, _in_sparse_attribute,
    _in_training,
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_wherever_a_tensor_stands_its_data_stay_inside(
    place: Callable[[ModelProto], TensorProto], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0" * 4 * 16 * 27)
    for location in ("../secret", str(secret)):
        model = tiny_model()
        put_outside(place(model), location)
        with pytest.raises(ArtifactError, match="only files in the model's own folder are read"):
            load_model(written(model, tmp_path / "model"))
    # The working folder is not the model's folder.
    monkeypatch.chdir(tmp_path)
    model = tiny_model()
    put_outside(place(model), "secret")
    with pytest.raises(ArtifactError, match=r"cannot read the external data .*/model/secret: No such file"):
        load_model(written(model, tmp_path / "model"))


@pytest.mark.parametrize("place", PLACES)
def test_a_model_in_memory_has_no_folder(
    place: Callable[[ModelProto], TensorProto], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside").write_bytes(b"\0" * 4 * 16 * 27)
    model = tiny_model()
    put_outside(place(model), "beside")
    with pytest.raises(ArtifactError, match="keeps its data in another file"):
        check_model(model)


@pytest.mark.parametrize(
    ("location", "more", "words"),
    [
        ("", {}, "only files in the model's own folder"),
        (".", {}, "only files in the model's own folder"),
        ("a//w.bin", {}, "only files in the model's own folder"),
        ("folder/../w.bin", {}, "only files in the model's own folder"),
        ("..\\w.bin", {}, "only files in the model's own folder"),
        ("w.bin", {"offset": -1}, "it must be a number"),
        ("w.bin", {"offset": "1" * 5000}, "it must be a number"),
        ("w.bin", {"offset": "\u0661"}, "it must be a number"),
        ("w.bin", {"offset": 1}, "has 1728 bytes at 1 of w.bin, which has 1728 bytes"),
        ("w.bin", {"offset": 10**17}, "which has 1728 bytes"),
        ("w.bin", {"length": 1727}, "has 1727 bytes of external data, its type and shape need 1728"),
        ("w.bin", {"length": 1729}, "its type and shape need 1728"),
        ("w.bin", {"location ": "w.bin", "offset": "x"}, "it must be a number"),
        ("absent.bin", {}, "No such file"),
        ("folder", {}, "no regular file"),
        ("pipe", {}, "no regular file"),
        ("link.bin", {}, "it must be a file beside the model, and no link"),
        ("linked/w.bin", {}, "it must be a file beside the model, and no link"),
    ],
)
def test_a_place_that_cannot_be_is_refused(location: str, more: dict[str, object], words: str, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 1728)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.bin").symlink_to(tmp_path / "w.bin")
    (tmp_path / "linked").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    model = tiny_model()
    put_outside(first(model), location, **more)
    with pytest.raises(ArtifactError, match=words):
        load_model(written(model, tmp_path))


def test_a_tensor_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 1728)

    def refused(edit: Callable[[TensorProto], object], words: str) -> None:
        model = tiny_model()
        put_outside(first(model), "w.bin")
        edit(first(model))
        with pytest.raises(ArtifactError, match=words):
            load_model(written(model, tmp_path))

    refused(lambda one: one.external_data.add(key="location", value="other"), "says twice what the location")
    refused(lambda one: one.ClearField("data_location"), "does not say clearly")
    refused(lambda one: one.external_data.pop(), "does not say clearly")
    refused(lambda one: setattr(one, "raw_data", b"\0" * 1728), "does not say clearly")
    refused(lambda one: setattr(one, "data_type", TensorProto.STRING), "the type STRING")
    refused(lambda one: setattr(one, "data_type", 1000), "the type 1000")
    refused(lambda one: one.dims.__setitem__(0, -16), "which external data cannot have")


def test_more_than_one_file_can_hold_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(3 << 30)  # sparse: it takes no space
    model = tiny_model()
    put_outside(first(model), "huge.bin")
    first(model).dims[:] = [3 << 28]
    with pytest.raises(ArtifactError, match=r"has 3\d+ bytes with its external data, one ONNX file holds 2147483647"):
        load_model(written(model, tmp_path))
    # Many tensors may share one range, which must not multiply what is read.
    model = tiny_model()
    put_outside(first(model), "huge.bin")
    first(model).dims[:] = [1 << 20]
    model.graph.initializer.extend([first(model)] * 1000)
    with pytest.raises(ArtifactError, match="one ONNX file holds 2147483647"):
        load_model(written(model, tmp_path))


def test_types_of_less_than_a_byte_have_their_length(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\x21\x03")
    model = tiny_model()
    put_outside(_in_constant(model), "w.bin", length=2)
    tensor = model.graph.node[0].attribute[0].t
    tensor.data_type, tensor.dims[:] = TensorProto.INT4, [3]
    loaded = load_model(written(model, tmp_path))
    assert numpy_helper.to_array(loaded.graph.node[0].attribute[0].t).astype(int).tolist() == [1, 2, 3]


def test_a_packed_file_has_no_external_data(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="a packed file holds all its data"):
        load_model(save_external(valid(0.5), tmp_path / "net.onnx"))


def test_every_verb_takes_it_and_writes_one_file(tmp_path: Path) -> None:
    from lth_deploy.workflow.benchmark.benchmark import benchmark
    from lth_deploy.workflow.benchmark.options import BenchmarkOptions
    from lth_deploy.workflow.evaluate import evaluate
    from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
    from lth_deploy.workflow.inspect.inspect import inspect_artifact
    from lth_deploy.workflow.predict import predict

    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    plain = written(tiny_model(zeros=0.8), tmp_path / "one")
    file = save_external(tiny_model(zeros=0.8), tmp_path / "two" / "net.onnx")
    annotations, images = save_data(tmp_path)
    decoder = save_decoder(tmp_path)

    assert inspect_artifact(file).bytes == inspect_artifact(plain).bytes
    assert "external data" in " ".join(inspect_artifact(file).notes)
    assert evaluate(file, annotations, images, decoder=decoder).ap.metrics["bbox"]["AP"] == pytest.approx(1.0)
    (found,) = predict(file, [images / "1.png"], tmp_path / "out", decoder=decoder, threshold=0.0)
    assert len(found.detections) == 2

    job = OnnxJob(images=images, decoder=decoder)
    made = export_onnx(file, job, out=tmp_path / "export")
    assert made.dense.read_bytes() == export_onnx(plain, job, out=tmp_path / "export-plain").dense.read_bytes()
    assert not list((tmp_path / "export").glob("*.data"))

    options = BenchmarkOptions(engines=("onnxruntime",), seconds=0.05, loads=1, decoder=decoder, images=2)
    results = benchmark([file], annotations, images, options=options)
    assert json.loads(json.dumps(results.to_data()))["rows"][0]["path"] == str(file)
    assert results.rows[0].bytes == inspect_artifact(plain).bytes
