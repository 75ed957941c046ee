"""export/REGION.md: its example is what the code computes, and it has text for every operator and activation."""

import re
from collections.abc import Iterator

import numpy as np

from lth_deploy.formats import FORMATS
from lth_deploy.kernels.oracle.reference import run
from lth_deploy.kernels.program.activations import ACTIVATIONS
from lth_deploy.kernels.program.operators import OPERATORS
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.text import parse, text
from tests.cross import PROJECT

PAGE = (PROJECT / "export" / "REGION.md").read_text(encoding="utf-8")
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
