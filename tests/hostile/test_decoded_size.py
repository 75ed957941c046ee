"""A small file claims little memory: what stored bytes may decode to is bounded, and weights are decoded one by one."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.load import check_model
from lth_deploy.compiler.emit import emit
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.config.target import Target
from lth_deploy.errors import ArtifactError
from lth_deploy.formats import FORMATS, choose
from lth_deploy.formats.base import DECODED_PER_BYTE, FREE_BYTES
from tests.compiler.onnx_models import conv
from tests.hostile.make_corpus import valid, valid_region

FREE = FREE_BYTES // 4


def claiming(elements: int, count: int = 1) -> ModelProto:
    """`count` layers with packed weights of so many elements, each with one value that is not zero."""
    made = valid(0.85)
    decoder = made.graph.node[0]
    for field in (made.graph.initializer, made.graph.node, made.graph.input, made.graph.output):
        del field[:]
    made.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64]))
    for number in range(count):
        for name, values in (("gaps", np.array([0xF0], np.uint8)), ("values", np.ones(1, np.float32))):
            made.graph.initializer.append(numpy_helper.from_array(values, f"{name}{number}"))
        inputs = [f"gaps{number}", f"values{number}"]
        shape = [64, elements // 64]
        made.graph.node.append(
            helper.make_node(decoder.op_type, inputs, [f"w{number}"], domain=decoder.domain, shape=shape)
        )
        made.graph.node.append(helper.make_node("MatMul", ["x", f"w{number}"], [f"y{number}"]))
        made.graph.output.append(helper.make_tensor_value_info(f"y{number}", TensorProto.FLOAT, [1, shape[1]]))
    return made


def test_the_budget_holds_to_the_byte() -> None:
    arrays = {"gaps": np.array([0xF0], np.uint8), "values": np.ones(1, np.float32)}
    most = FREE + 5 * DECODED_PER_BYTE // 4
    assert np.count_nonzero(FORMATS.get("gaps4").decode(arrays, (most,))) == 1
    with pytest.raises(ArtifactError, match=f"5 stored bytes claim {4 * (most + 1)} decoded ones"):
        FORMATS.get("gaps4").decode(arrays, (most + 1,))
    bytes_ = {"gaps": np.array([0xF0], np.uint8), "values": np.ones(1, np.int8)}
    assert FORMATS.get("gaps4").decode(bytes_, (FREE_BYTES + 2 * DECODED_PER_BYTE,)).dtype == np.int8
    with pytest.raises(ArtifactError, match="2 stored bytes claim"):
        FORMATS.get("gaps4").decode(bytes_, (FREE_BYTES + 2 * DECODED_PER_BYTE + 1,))


def test_what_is_beyond_the_budget_is_not_packed() -> None:
    weights = np.zeros((FREE + 4096,), np.int8)
    weights[:3] = 1
    assert choose(weights) != "dense"
    wide = np.zeros((4 * FREE + 8192,), np.int8)
    wide[0] = 1
    assert choose(wide) == "bitmask", "gaps and steps would be a few bytes, which must not claim so much"
    bitmask = FORMATS.get("bitmask")
    assert np.array_equal(bitmask.decode(bitmask.encode(wide), wide.shape), wide)


def test_files_within_the_rules_are_read_and_those_beyond_refused(tmp_path: Path) -> None:
    check_model(claiming(1 << 20, count=3))
    with pytest.raises(ArtifactError, match="stored bytes claim"):
        check_model(claiming(FREE + 4096))
    with pytest.raises(ArtifactError, match="the packed weights claim 4362076160 bytes, at most 4294967296"):
        check_model(claiming(FREE, count=64 + 1))


def test_sparse_tensors_are_bounded_together() -> None:
    model = normalize(conv(np.eye(64, dtype=np.float32).reshape(64, 64, 1, 1)))
    made = emit(model, Target(format="coo", values="fp32"))[0]
    check_model(made)
    tensor = made.graph.sparse_initializer[0]
    one = type(tensor)()
    one.CopyFrom(tensor)
    one.dims[:] = [1 << 14, 1 << 10]
    for number in range(20):
        one.values.name = f"s{number}"
        made.graph.sparse_initializer.append(one)
    with pytest.raises(ArtifactError, match="the sparse tensors claim"):
        check_model(made)


def test_the_library_refuses_what_python_refuses(tmp_path: Path) -> None:
    from lth_deploy.runtimes import RUNTIMES

    region = valid_region()
    file = tmp_path / "region.onnx"
    file.write_bytes(region.SerializeToString())
    RUNTIMES.get("lth_deploy").load(file, threads=1)
    text = region.graph.node[0].attribute[0].s
    assert b"64,64,3,3" in text
    huge = text.replace(b"64,64,3,3", b"64,16384,15,15").replace(b"kernel=3,3", b"kernel=15,15")
    region.graph.node[0].attribute[0].s = huge.replace(b"t0 = load 0 channels=64", b"t0 = load 0 channels=16384")
    file.write_bytes(region.SerializeToString())
    with pytest.raises(ArtifactError, match=r"weight 0: \d+ stored bytes claim 943718400 decoded ones"):
        RUNTIMES.get("lth_deploy").load(file, threads=1)


def test_inspect_of_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    file = tmp_path / "claims.onnx"
    file.write_bytes(claiming(FREE, count=24).SerializeToString())
    assert file.stat().st_size < 40_000
    code = (
        "import re, sys; from pathlib import Path\n"
        "from lth_deploy.workflow.inspect.inspect import inspect_artifact\n"
        "print(len(inspect_artifact(Path(sys.argv[1])).layers))\n"
        # ru_maxrss would begin with what the process had before it became this program.
        "print(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    limit = 2 << 30

    def limited() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # each thread of a large machine reserves addresses
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    finished = subprocess.run(
        [sys.executable, "-P", "-c", code, str(file)],
        capture_output=True,
        text=True,
        timeout=300,
        env={"LTH_RUN_MEMORY": "2", "PATH": ""},
        preexec_fn=limited,
    )
    assert finished.returncode == 0, finished.stderr
    layers, kilobytes = map(int, finished.stdout.split())
    assert layers == 24
    assert kilobytes < 1 << 20, "the largest tensor has 64 MiB, all of them 1.5 GiB"
