"""export/REGION.md: its example is what the code computes, and it has text for every operator and activation."""

import re
from collections.abc import Iterator

import numpy as np

from lth_deploy.formats import FORMATS
from lth_deploy.kernels.oracle.reference import run
from lth_deploy.kernels.program.activations import ACTIVATIONS, IN_REGISTERS
from lth_deploy.kernels.program.operators import OPERATORS
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.text import parse, text
from lth_deploy.kernels.program.weights import BLOCKS_SINCE, STORED_BLOCKS
from tests.cross import PROJECT

PAGE = (PROJECT / "export" / "REGION.md").read_text(encoding="utf-8")
SOURCES = PROJECT / "lth_deploy" / "kernels"
ARRAY = re.compile(r"^(input|output) \d+.*?: (float32|uint8) \[([\d,]+)\][^\n]*\n((?:    [0-9a-f ]+\n)+)", re.MULTILINE)


def example() -> tuple[str, list[np.ndarray], list[np.ndarray]]:
    """The program, inputs and outputs of the example."""
    block = re.search(r"^```\nprogram\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert block is not None
    source = "".join(line[4:] + "\n" for line in block[1].partition("input 0")[0].splitlines())
    arrays: dict[str, list[np.ndarray]] = {"input": [], "output": []}
    for kind, dtype, dims, data in ARRAY.findall(block[1]):
        array = np.frombuffer(bytes.fromhex(data), np.dtype(dtype)).reshape([int(dim) for dim in dims.split(",")])
        arrays[kind].append(array)
    return source, arrays["input"], arrays["output"]


def constants(program: Program, inputs: list[np.ndarray]) -> Iterator[np.ndarray]:
    for weight in program.weights:
        if weight.positions is None:
            yield inputs[weight.values]
        else:
            arrays = {"bits": inputs[weight.positions], "values": inputs[weight.values]}
            yield FORMATS.get(weight.coding).decode(arrays, weight.dims)


def test_the_example_in_bytes_is_what_parser_and_oracle_make_of_it() -> None:
    source, inputs, outputs = example()
    program = parse(source, len(inputs))
    assert text(program) == source
    assert len(inputs) == 4
    assert len(outputs) == len(program.outputs) == 1
    (found,) = run(program, list(constants(program, inputs)), inputs[: program.inputs])
    assert np.array_equal(found, outputs[0])


def test_every_operator_and_activation_is_specified() -> None:
    rules = PAGE[PAGE.index("## Operators on float32") : PAGE.index("## Outputs and limits")]
    for name in (*OPERATORS, *ACTIVATIONS):
        assert re.search(rf"`{name}[:`]", rules), f"REGION.md says nothing of {name}"


def operators_of_the_library() -> dict[str, int]:
    """The names of the C++ table, each with the first version that has it."""
    found = {}
    for file in sorted((SOURCES / "src" / "ops").glob("*.cpp")):
        for entry in re.findall(r"op\.name = .*?return op;", file.read_text(encoding="utf-8"), re.DOTALL):
            (name,), since = re.findall(r'op\.name = "(\w+)"', entry), re.findall(r"op\.since = (\d+)", entry)
            found[name] = int(since[0]) if since else 1
    return found


def test_the_library_and_the_package_have_the_same_operators() -> None:
    assert operators_of_the_library() == {name: operator.SINCE for name, (operator, _) in OPERATORS.items()}


def test_the_library_and_the_package_have_the_same_activations() -> None:
    listed = (SOURCES / "src" / "isa" / "activations.h").read_text(encoding="utf-8")
    entries = re.findall(r'X\(\w+, "([a-z_]+)((?::[A-Z]+)*)", (\d+)', listed)
    library = {name: (numbers.count(":"), int(since)) for name, numbers, since in entries}
    assert library == {name: (act.numbers, act.since) for name, act in ACTIVATIONS.items()}
    (registers,) = re.findall(r"define LTH_REGISTER_ACTIVATIONS.*?\n\n", listed, re.DOTALL)
    assert set(re.findall(r'"([a-z]+)', registers)) == IN_REGISTERS | {"none"}


def test_the_library_and_the_package_have_the_same_blocks() -> None:
    listed = (SOURCES / "src" / "program" / "program.h").read_text(encoding="utf-8")
    entries = re.findall(r'\{"(\d+x\d+)", (\d+), (\d+), (\d+)\}', listed)
    library = {name: ((int(outputs), int(inputs)), int(since)) for name, outputs, inputs, since in entries}
    assert library == {dims: (block, BLOCKS_SINCE.get(block, 1)) for block, dims in STORED_BLOCKS.items()}


def test_every_operator_and_activation_has_a_program_in_the_tests() -> None:
    programs = "".join(file.read_text(encoding="utf-8") for file in (PROJECT / "tests" / "kernels").glob("*.py"))
    assert [name for name in OPERATORS if not re.search(rf"^t\d+ = {name} ", programs, re.MULTILINE)] == []
    assert [name for name in ACTIVATIONS if f"act={name}" not in programs] == []
