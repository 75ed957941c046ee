"""The library in a host of our own, where sanitizers see every byte: damaged nodes, many threads, both parsers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle.reference import run_bounded
from lth_deploy.kernels.program.text import parse, text
from lth_deploy.kernels.program.values import Pair
from lth_deploy.kernels.program.weights import BLOCKS_SINCE, STORED_BLOCKS
from lth_deploy.measure.machine import describe_machine
from tests.kernels.host_nodes import NODES, write_nodes
from tests.kernels.hosts import build_host, run_host
from tests.kernels.node_files import read_arrays, write_texts
from tests.kernels.quantized_programs import quantized_programs
from tests.kernels.region_nodes import region_node, write_node
from tests.kernels.region_programs import EVERY_INSTRUCTION, programs

MUTATIONS = 10_000


@pytest.fixture(scope="module")
def plain() -> Path:
    return build_host("plain")


@pytest.mark.parametrize("name", NODES)
def test_a_node_is_computed(name: str, plain: Path, tmp_path: Path) -> None:
    node = region_node(*NODES[name])
    run_host(plain, "run", write_node(tmp_path / "node", node), tmp_path / "out", 2)
    for found, exact in zip(
        read_arrays(tmp_path / "out"), run_bounded(node.program, node.weights, node.inputs), strict=True
    ):
        assert found.shape == exact.value.shape
        assert (np.abs(found - exact.value) <= exact.bound).all()


CODINGS = ["dense", "bitmask", "steps8", "gaps4", "gaps6", "gaps8", "gaps10", "gaps12", "gaps16"]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("values", ["f32", "f16"])
def test_every_coding_is_decoded(coding: str, values: str, plain: Path, tmp_path: Path) -> None:
    at = "1" if coding == "dense" else "1,2"
    source = f"lth_region 1\ninputs 1\nweight {coding} {values} 421,397 at {at}\n"
    source += "t0 = loadrows 0 channels=397\n"
    source += "t1 = conv t0 w0 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=none\noutput t1 rows\n"
    node = region_node(source, [(3, 397)])
    (weight,) = node.weights
    rng = np.random.default_rng(1)
    # Gaps of every length up to one that no code of 16 bits spans, and none at all.
    for kept in (
        np.zeros(weight.size, bool),
        np.cumsum(rng.geometric(0.5, 300) ** 2) % weight.size,
        [0, 3, 167_136],
        slice(None),
    ):
        flat = np.zeros(weight.size, np.float32)
        flat[kept] = rng.standard_normal(weight.size).astype(np.float16)[kept]
        weight[...] = flat.reshape(weight.shape)
        run_host(plain, "run", write_node(tmp_path / "node", node), tmp_path / "out", 1)
        (found,), (exact,) = read_arrays(tmp_path / "out"), run_bounded(node.program, node.weights, node.inputs)
        assert (np.abs(found - exact.value) <= exact.bound).all()


@pytest.mark.parametrize("coding", CODINGS[1:])
@pytest.mark.parametrize("values", ["f32", "f16", "s8"])
@pytest.mark.parametrize("block", STORED_BLOCKS)
def test_every_coding_of_blocks_is_decoded(coding: str, values: str, block: Pair, plain: Path, tmp_path: Path) -> None:
    quantized, outputs, inputs = values == "s8", max(12, block[0]), 64 if block[1] > 4 else 40
    source = f"lth_region {BLOCKS_SINCE.get(block, 1)}\ninputs 1\n"
    source += f"weight {coding}:{STORED_BLOCKS[block]} {values} {outputs},{inputs},3,3 at 1,2\n"
    source += f"weight dense f32 {outputs} at 3\n" if quantized else ""
    source += f"t0 = load 0 channels={inputs}\n"
    source += "t1 = quantize t0 out=u8:0.02:128\n" if quantized else ""
    source += "t2 = qconv t1 w0 w1 - " if quantized else "t1 = conv t0 w0 - "
    source += "kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 act=none"
    source += " out=f32\noutput t2\n" if quantized else "\noutput t1\n"
    for zeros in (0.3, 0.97, 1.0):
        node = region_node(source, [(1, inputs, 9, 7)], zeros=zeros)
        run_host(plain, "run", write_node(tmp_path / "node", node), tmp_path / "out", 1)
        (found,), (exact,) = read_arrays(tmp_path / "out"), run_bounded(node.program, node.weights, node.inputs)
        assert (np.abs(found - exact.value) <= exact.bound).all()


def test_an_older_onnx_runtime_is_refused_in_words(plain: Path) -> None:
    run_host(plain, "version", 18)
    run_host(plain, "version", 40)
    with pytest.raises(AssertionError, match=r"need ONNX Runtime 1\.18 or newer, this is .* update onnxruntime"):
        run_host(plain, "version", 17)


def _needs(isa: str | None) -> None:
    if isa == "amx_emulated" and not {"avx512bw", "avx512vl"} <= set(describe_machine().isa):
        pytest.skip("the emulation of AMX has lines of 16 cells, for which this processor has no instructions")


@pytest.mark.parametrize("isa", [None, "portable", "amx_emulated"])
def test_damaged_nodes_are_refused_or_computed_as_the_oracle_does(isa: str | None, plain: Path, tmp_path: Path) -> None:
    _needs(isa)
    tally = json.loads(run_host(plain, "mutate", 2000, 10**6, *write_nodes(tmp_path), folder=tmp_path, isa=isa))
    assert sum(tally.values()) == 2000
    assert tally["refused"] > 500
    assert tally["unfit"] > 10
    assert tally["compared"] > 200


@pytest.mark.slow
@pytest.mark.parametrize("isa", [None, "portable", "amx_emulated"])
def test_damaged_nodes_break_no_memory(isa: str | None, tmp_path: Path) -> None:
    _needs(isa)
    host = build_host("address")
    tally = json.loads(run_host(host, "mutate", MUTATIONS, 1, *write_nodes(tmp_path), folder=tmp_path, isa=isa))
    assert sum(tally.values()) == MUTATIONS
    assert tally["compared"] > MUTATIONS / 10


@pytest.mark.slow
def test_sixteen_threads_share_a_kernel_without_races(tmp_path: Path) -> None:
    host = build_host("thread")
    for file in write_nodes(tmp_path):
        run_host(host, "threads", 16, file)


def _verdicts(host: Path, texts: list[tuple[int, str]], folder: Path) -> list[str]:
    return run_host(host, "parse", write_texts(folder / "texts", texts)).splitlines()


def _accepted(source: str, inputs: int) -> bool:
    try:
        parse(source, inputs)
    except ArtifactError:
        return False
    return True


@given(program=st.one_of(programs(), quantized_programs()))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_drawn_programs_are_accepted_by_both_parsers(program: object, plain: Path, tmp_path: Path) -> None:
    source = text(program)  # type: ignore[arg-type]
    assert _verdicts(plain, [(program.node_inputs, source)], tmp_path) == ["ok"]  # type: ignore[attr-defined]


_FIELDS = "0 1 2 3 5 8 15 16 64 65536 65537 2147483648 -1 01 t0 t1 w0 w1 - f16 bf16 dense gaps4 act=none act=relu rows"
_FIELDS_2 = "act=leaky:0.10 act=leaky:1e-46 act=leaky:1e-05 act=clip:1:0 act=clip:0:6 groups=2 pads=1,1,1,1 add=t0"
_FIELDS_3 = "out=f32 out=u8:0.02:7 out=u8:0.020:7 out=u8:1e-13:7 out=u8:1:256 s8 s32 gaps4:2x4 dense:1x4 gaps4:4x4"
_FIELDS_4 = "linear=half_pixel linear=asymmetric linear=none linear= like=t0"


def _changed(rng: np.random.Generator, source: str) -> str:
    """One field replaced, or one line dropped, doubled or moved."""
    lines = source.split("\n")
    line = int(rng.integers(len(lines)))
    kind = int(rng.integers(12))
    if kind > 9:
        numbers = [found.span() for found in re.finditer(r"(?<=[,=])\d+(?=,)|(?<=,)\d+", source)]
        start, end = numbers[int(rng.integers(len(numbers)))] if numbers else (0, 0)
        return source[:start] + str(rng.integers(17)) + source[end:]
    if kind > 7:
        number = rng.standard_normal() * 10.0 ** rng.integers(-12, 12)
        written = f"{number:.9g}" if rng.random() < 0.8 else repr(float(number))
        act = str(rng.choice(["relu", "silu", "none", f"leaky:{written}", f"clip:-1:{written}", f"clip:{written}:6"]))
        acts = [found.span() for found in re.finditer(r"(?<=act=)\S+", source)]
        start, end = acts[int(rng.integers(len(acts)))] if acts else (0, 0)
        return source[:start] + act + source[end:]
    if kind == 0:
        del lines[line]
    elif kind == 1:
        lines.insert(line, lines[int(rng.integers(len(lines)))])
    elif kind == 2:
        at = int(rng.integers(len(source)))
        return source[:at] + source[at + 1 :]
    else:
        fields = lines[line].split(" ")
        at = int(rng.integers(len(fields)))
        new = str(rng.choice(f"{_FIELDS} {_FIELDS_2} {_FIELDS_3} {_FIELDS_4} {source}".split()))
        key, equals, _ = fields[at].partition("=")
        fields[at] = f"{key}={rng.choice(_FIELDS.split())}" if equals and rng.random() < 0.5 else new
        lines[line] = " ".join(fields)
    return "\n".join(lines)


def test_both_parsers_agree_on_damaged_programs(plain: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sources = [source for source, _ in NODES.values()]
    texts = []
    for _ in range(3000):
        source = sources[int(rng.integers(len(sources)))]
        inputs = parse(source).node_inputs
        for _ in range(int(rng.integers(1, 3))):
            source = _changed(rng, source)
        texts.append((inputs, source))
    verdicts = _verdicts(plain, texts, tmp_path)
    expected = [_accepted(source, inputs) for inputs, source in texts]
    wrong = [
        (source, said)
        for (_, source), said, good in zip(texts, verdicts, expected, strict=True)
        if (said == "ok") != good
    ]
    assert not wrong, wrong[0]
    assert 30 < sum(expected) < 2000


@pytest.mark.parametrize(
    ("old", "new", "inputs", "message"),
    [
        ("", "", 10, "reads 11 inputs and the node has 10|has only 10 inputs"),
        ("lth_region 1", "lth_region 2", 11, "has version 2, .* those of version 1"),
        ("lth_region 1", "lth_region 99", 11, r"version 99, .* reads version 1 to \d+; a newer lth_deploy is needed"),
        ("channels=16", "channels=65537", 11, "1 to 65536"),
        ("channels=16", "channels=16 ", 11, "does not end in a space"),
        ("channels=16", " channels=16", 11, "where 'channels=' is expected"),
        ("t10 = load", "t10  = load", 11, "exactly one space"),
        ("act=clip:-1:6", "act=clip:6:-1", 11, "lower bound"),
        ("8,8,3,3", "8,8,99999999,99999999", 11, "2\\^29"),
        ("output t11 rows", "output t11", 11, "'rows' belongs"),
        ("t3 = conv t2", "t3 = conv t3", 11, "an earlier tensor"),
        ("output t9\n", "", 11, "t9 is never used"),
    ],
)
def test_a_refusal_names_line_and_rule(
    old: str, new: str, inputs: int, message: str, plain: Path, tmp_path: Path
) -> None:
    (said,) = _verdicts(plain, [(inputs, EVERY_INSTRUCTION.replace(old, new) if old else EVERY_INSTRUCTION)], tmp_path)
    assert re.search(message, said), said
