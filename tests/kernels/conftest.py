"""The kernel library as installed, and a build of it whose 16-lane kernels run without AVX-512."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from lth_deploy.kernels import ops_library
from lth_deploy.kernels.program.text import parse
from tests.cross import PROJECT, cmake_build
from tests.kernels.hosts import build_host
from tests.kernels.region_models import model_of, open_model

SOURCES = PROJECT / "lth_deploy" / "kernels"
INSTRUCTION_SETS = ("amx", "avx512vnni", "avx512", "avxvnni", "avx2", "neoni8mm", "neondot", "neon", "portable")
FOLDER = Path(__file__).parent
SMALLEST = "lth_region 1\ninputs 1\nt0 = load 0 channels=1\nt1 = act t0 act=relu\noutput t1\n"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The instruction sets of one case after the other: its exact results are computed once, see `exact_results`."""
    first: dict[str, int] = {}

    def place(number: int, item: pytest.Item) -> int:
        drawn = getattr(item, "callspec", None)
        if drawn is None or "kernels" not in drawn.params or not item.path.is_relative_to(FOLDER):
            return number
        case = item.nodeid.replace(f"[{drawn.params['kernels']}", "[", 1)
        return first.setdefault(case, number)

    places = {id(item): place(number, item) for number, item in enumerate(items)}
    items.sort(key=lambda item: places[id(item)])


def opens(library: Path, instruction_set: str) -> bool:
    """Whether the kernels of this instruction set run on this machine."""
    os.environ["LTH_ISA"] = instruction_set
    try:
        open_model(model_of(parse(SMALLEST), []), library)
    except Exception as error:
        if "is not available on this machine" not in str(error):
            raise
        return False
    finally:
        del os.environ["LTH_ISA"]
    return True


@pytest.fixture(scope="session")
def instruction_sets(request: pytest.FixtureRequest) -> dict[str, Path]:
    """The library that runs each instruction set of this machine; what emulates others is built for the tests only."""
    installed = ops_library()
    found = {name: installed for name in INSTRUCTION_SETS if opens(installed, name)}
    if "avx512" in found:
        found["amx_emulated"] = build_host("plain").with_name("liblth_ops.so")
        assert opens(found["amx_emulated"], "amx_emulated")
    elif "avx2" in found:
        folder = request.config.cache.mkdir("emulated-kernels")
        emulated = cmake_build(SOURCES, folder, "-DLTH_WERROR=ON", "-DLTH_EMULATE_AVX512=ON") / "liblth_ops.so"
        assert opens(emulated, "avx512")
        found["avx512 emulated"] = emulated
        found["amx_emulated without AVX-512"] = emulated
    return found


@pytest.fixture(params=[*INSTRUCTION_SETS, "amx_emulated", "avx512 emulated", "amx_emulated without AVX-512"])
def kernels(request: pytest.FixtureRequest, instruction_sets: dict[str, Path]) -> Iterator[Path]:
    """The library, set to use one instruction set; 16 lanes run even where AVX-512 is missing."""
    name = str(request.param)
    if name not in instruction_sets:
        pytest.skip(f"this processor has no {name}")
    with mock.patch.dict(os.environ, LTH_ISA=name.split()[0]):
        yield instruction_sets[name]
