"""The library inside ONNX Runtime itself: what it exports, what it refuses, and many threads on one session."""

import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lth_deploy.kernels import ops_library
from lth_deploy.kernels.oracle.reference import run_bounded
from lth_deploy.kernels.program.text import text
from tests.kernels.node_files import AnyArray
from tests.kernels.region_models import open_model, run_model
from tests.kernels.region_nodes import RegionNode, region_node
from tests.kernels.region_programs import EVERY_INSTRUCTION

LIBRARY = ops_library()
SHAPES = [(2, 3, 21, 18), (5, 16)]


@dataclass(frozen=True)
class Model:
    """A model of one node; `given` names constants that are inputs of the model instead."""

    program: str
    constants: list[AnyArray]
    outputs: int = 2
    inputs: int = 2
    operator: str = "Region0"
    given: set[int] = field(default_factory=set)

    def save(self) -> bytes:
        sources = [f"x{number}" for number in range(self.inputs)]
        stored = [numpy_helper.from_array(array, f"c{number}") for number, array in enumerate(self.constants)]
        made = [f"y{number}" for number in range(self.outputs)]
        names = [*sources, *(tensor.name for tensor in stored)]
        node = helper.make_node(
            self.operator, names, made, name="a node", domain="com.lth_deploy", program=self.program
        )
        entries = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in sources]
        for number in sorted(self.given):
            entries.append(helper.make_tensor_value_info(f"c{number}", stored[number].data_type, stored[number].dims))
        graph = helper.make_graph(
            [node],
            "region",
            entries,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in made],
            [tensor for number, tensor in enumerate(stored) if number not in self.given],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.lth_deploy", 1)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


@pytest.fixture(scope="module")
def node() -> RegionNode:
    return region_node(EVERY_INSTRUCTION, SHAPES)


@pytest.fixture
def model(node: RegionNode) -> Model:
    return Model(text(node.program), node.constants)


def _within_bounds(node: RegionNode, outputs: list[np.ndarray]) -> bool:
    exact = run_bounded(node.program, node.weights, node.inputs)
    return all((np.abs(a - b.value) <= b.bound).all() for a, b in zip(outputs, exact, strict=True))


def _printed(command: Sequence[str | Path]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def test_the_library_shows_two_symbols_and_needs_only_what_every_system_has() -> None:
    shown = _printed(["nm", "-D", "--defined-only", LIBRARY])
    assert [line.split()[-1] for line in shown.splitlines()] == ["LthDescribeKernels", "RegisterCustomOps"]
    needed = _printed(["readelf", "-d", LIBRARY])
    names = set(re.findall(r"NEEDED.*\[(\w+)", needed))
    assert names <= {"libc", "libm", "libpthread", "libgcc_s", "ld"}


def test_the_library_loads_on_systems_of_2014() -> None:
    """The wheels say manylinux_2_17."""
    symbols = _printed(["readelf", "--dyn-syms", "-W", LIBRARY])
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"@GLIBC_([0-9.]+)", symbols)}
    assert versions
    assert max(versions) <= (2, 17)


@pytest.mark.parametrize("operator", ["Region0", "Region63"])
def test_every_instruction_is_computed(operator: str, node: RegionNode, model: Model) -> None:
    session = open_model(replace(model, operator=operator).save(), LIBRARY, threads=2)
    assert _within_bounds(node, run_model(session, node.inputs))


def test_two_sessions_and_a_second_registration_share_the_operators(node: RegionNode, model: Model) -> None:
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(LIBRARY))
    sessions = [onnxruntime.InferenceSession(model.save(), options) for _ in range(2)]
    sessions.append(open_model(model.save(), LIBRARY))
    for session in sessions:
        assert _within_bounds(node, run_model(session, node.inputs))


def test_sixteen_threads_on_one_session_give_the_serial_bits(node: RegionNode, model: Model) -> None:
    serial = run_model(open_model(model.save(), LIBRARY, threads=1), node.inputs)
    shared = open_model(model.save(), LIBRARY, threads=2)

    def call(number: int) -> bool:
        # Every other caller brings a shape of its own, so that plans come and go underneath.
        run_model(shared, [node.inputs[0][:, :, : 8 + number % 5], node.inputs[1][: 1 + number % 3]])
        found = run_model(shared, node.inputs)
        return all(np.array_equal(a, b) for a, b in zip(found, serial, strict=True))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(call, range(160)))


def _broken(model: Model, name: str) -> Model:
    constants = list(model.constants)
    nan = constants[0].copy()
    nan[0, 0, 0, 0] = np.nan
    changes: dict[str, Model] = {
        "no text": replace(model, program=""),
        "zero byte": replace(model, program=model.program + "\0"),
        "outputs": replace(model, outputs=1),
        "unknown tensor": replace(model, program=model.program.replace("concat t5 t6", "concat t5 t99")),
        "dims": replace(model, program=model.program.replace("8,3,7,7", "8,3,7,8")),
        "array missing": replace(model, constants=constants[:-1]),
        "type": replace(model, constants=[constants[0].astype(np.float64), *constants[1:]]),
        "shape": replace(model, constants=[constants[0].reshape(-1), *constants[1:]]),
        "not finite": replace(model, constants=[nan, *constants[1:]]),
        "positions": replace(model, constants=[constants[0], constants[1][:-1], *constants[2:]]),
        "values": replace(model, constants=[*constants[:2], constants[2][:-1], *constants[3:]]),
        "no constant": replace(model, given={0}),
    }
    return changes[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no text", "line feed"),
        ("zero byte", "line feed"),
        ("outputs", "2 outputs and the node has 1"),
        ("unknown tensor", r"line 16: an earlier tensor .* found '99'"),
        ("dims", r"the weight has the dimensions 8,3,7,8 instead of 8,3,7,7"),
        ("array missing", "only 10 inputs"),
        ("type", "weight 0: input 2: the program reads float32"),
        ("shape", r"weight 0: input 2: .* instead of \[8, 3, 7, 7\]"),
        ("not finite", "weight 0: values: number 0 is not finite"),
        ("positions", "weight 1: gaps"),
        ("values", "weight 1: gaps: more codes of values than values"),
        ("no constant", "weight 0: input 2: .* is no constant"),
    ],
)
def test_a_damaged_node_is_an_error_of_the_session_that_says_where(name: str, message: str, model: Model) -> None:
    with pytest.raises(Exception, match=f"lth_deploy, node 'a node': .*{message}"):
        open_model(_broken(model, name).save(), LIBRARY)


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 4, 21, 18), (5, 16)],
        [(2, 3, 21), (5, 16)],
        [(2, 3, 0, 18), (5, 16)],
        [(2, 3, 21, 18), (5, 16, 1, 1)],
        [(2, 3, 21, 18), (5, 17)],
    ],
)
def test_inputs_that_do_not_fit_are_an_error_of_the_run(
    shapes: list[tuple[int, ...]], node: RegionNode, model: Model
) -> None:
    session = open_model(model.save(), LIBRARY)
    with pytest.raises(Exception, match="lth_deploy, node 'a node'"):
        run_model(session, [np.zeros(shape, np.float32) for shape in shapes])
    assert _within_bounds(node, run_model(session, node.inputs))


def test_an_unknown_instruction_set_is_refused(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTH_ISA", "sse9")
    with pytest.raises(Exception, match="sse9"):
        open_model(model.save(), LIBRARY)


def _mutated(model: Model, rng: np.random.Generator) -> Model:
    constants = [array.copy() for array in model.constants]
    number = int(rng.integers(len(constants)))
    match int(rng.integers(5)):
        case 0:
            at = int(rng.integers(len(model.program)))
            changed = chr(int(rng.integers(1, 127)))
            return replace(model, program=model.program[:at] + changed + model.program[at + 1 :])
        case 1:
            digits = [found.span() for found in re.finditer(r"\d+", model.program)]
            start, end = digits[int(rng.integers(len(digits)))]
            other = str(rng.choice([0, 1, 2, 7, 16, 65536, 2**31, 2**63]))
            return replace(model, program=model.program[:start] + other + model.program[end:])
        case 2:
            raw = bytearray(constants[number].tobytes())
            raw[int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(8))
            constants[number] = np.frombuffer(bytes(raw), constants[number].dtype).reshape(constants[number].shape)
        case 3:
            constants[number] = constants[number].reshape(-1)[: int(rng.integers(constants[number].size))]
        case _:
            other_number = int(rng.integers(len(constants)))
            constants[number], constants[other_number] = constants[other_number], constants[number]
    return replace(model, constants=constants)


def _complaint(model: Model, node: RegionNode) -> str:
    """What making the session or running it says; empty where both go well."""
    try:
        run_model(open_model(model.save(), LIBRARY), node.inputs)
    except Exception as error:
        return str(error)
    return ""


def test_three_hundred_mutations_never_crash(node: RegionNode, model: Model) -> None:
    rng = np.random.default_rng(7)
    complaints = [_complaint(_mutated(model, rng), node) for _ in range(300)]
    assert 20 < complaints.count("") < 150
    assert not [text for text in complaints if text and "lth_deploy" not in text]
