"""Laws of the package's shape, held on its syntax trees: who may import whom, and how large a file may grow."""

import ast
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import lth_deploy

PACKAGE = Path(lth_deploy.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 310
MOST_IN_FOLDER = 20

# Lowest first: a part may import those on the lines before its own, and none on its own line.
TIERS = tuple(
    frozenset(line.split())
    for line in (
        "errors",
        "arrays element_types registry disk structures engine_messages",
        "storage detections processes progress run_clock layer_floor resampling",
        "config documents",
        "mask formats reconstruction",
        "run",
        "evaluation measure kernels",
        "reporting",
        "data compiler runtimes decoders boards",
        "detectors",
        "training",
        "pruning",
        "workflow",
        "commands",
        "cli",
        "__main__",
    )
)
# Finding a ticket and running one meet only in the workflow.
RESEARCH = frozenset({"data", "detectors", "training", "pruning"})
DEPLOYMENT = frozenset({"compiler", "kernels", "runtimes", "decoders", "boards"})
ROOT = "__init__"


def _unit(module: str) -> str:
    """The part of the package that a dotted module name belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ROOT


def _module(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(file): file for file in FILES}


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and module of every import of the package, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            base = node.module or ""
            # `from package import name` imports the module package.name where there is one.
            names = [full if (full := f"{base}.{alias.name}") in MODULES else base for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "lth_deploy":
                yield node.lineno, name


def _may_import(user: str, used: str) -> bool:
    if user in (used, ROOT):
        return True
    if used == ROOT:  # the front door is for users
        return False
    if {user, used} & RESEARCH and {user, used} & DEPLOYMENT:
        return False
    level = {name: number for number, names in enumerate(TIERS) for name in names}
    return level[used] < level[user]


def test_imports_inside_functions_and_for_types_are_seen() -> None:
    source = """
        if TYPE_CHECKING:
            import lth_deploy.cli
        def later():
            from lth_deploy import mask
            from lth_deploy.data.coco import load_coco
    """
    tree = ast.parse(textwrap.dedent(source))
    assert [_unit(used) for _, used in _imports(tree)] == ["cli", "mask", "data"]


def test_every_part_of_the_package_has_its_place() -> None:
    parts = {_unit(module) for module in MODULES} - {ROOT}
    assert parts == set().union(*TIERS)


def test_the_diagram_of_the_documentation_shows_these_tiers() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    layers = text.partition("## Layers")[2].partition("\n    ")[2].partition("\n\n")[0]
    lines = [line.strip().partition("  ")[0] for line in layers.splitlines()]
    assert tuple(frozenset(line.split(", ")) for line in lines) == TIERS


@pytest.mark.parametrize(
    ("user", "used"),
    [
        ("compiler", "data"),
        ("detectors", "runtimes"),
        ("mask", "run"),
        ("evaluation", "measure"),
        ("data", "detectors"),
        ("config", "mask"),
        ("pruning", "workflow"),
        ("workflow", "commands"),
    ],
)
def test_the_rule_forbids_what_it_should(user: str, used: str) -> None:
    assert not _may_import(user, used)


@pytest.mark.parametrize("file", FILES, ids=_module)
def test_imports_point_downwards(file: Path) -> None:
    user = _unit(_module(file))
    wrong = [
        f"{file.relative_to(PACKAGE.parent)}:{line} imports {used}"
        for line, used in _imports(ast.parse(file.read_text(encoding="utf-8")))
        if not _may_import(user, _unit(used))
    ]
    assert not wrong


def test_no_module_reaches_itself_through_imports() -> None:
    graph = {module: _loaded_with(file) for module, file in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"cycle: {' -> '.join((*trail[trail.index(module) :], module))}"
        if module not in done:
            for used in sorted(graph[module]):
                visit(used, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def _loaded_with(file: Path) -> set[str]:
    """Modules that this one imports at its top, for types too; a package's own __init__ is left to Python."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(ast.parse(file.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {used for _, used in _imports(node)}
        waiting.extend(ast.iter_child_nodes(node))
    return found - {"lth_deploy"}


@pytest.mark.parametrize("file", FILES, ids=_module)
def test_files_stay_readable(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("suffix", [".py", ".cpp", ".inl", ".h"])
def test_no_folder_is_a_heap(suffix: str) -> None:
    folders = Counter(file.parent for file in PACKAGE.rglob(f"*{suffix}") if file.name != "__init__.py")
    assert folders
    assert {str(folder): count for folder, count in folders.items() if count > MOST_IN_FOLDER} == {}


def test_names_say_what_is_inside() -> None:
    vague = {"utils", "util", "helpers", "helper", "misc", "common", "tools"}
    assert not [str(file) for file in FILES if vague & {file.stem, file.parent.name}]


TESTS = Path(__file__).parent


@pytest.mark.parametrize("file", sorted(TESTS.rglob("*.py")), ids=lambda file: str(file.relative_to(TESTS)))
def test_tests_import_one_another_by_full_name_and_only_helpers(file: Path) -> None:
    """One name for one module, so that it is loaded once; a module of tests is no library."""
    own = {path.stem for path in TESTS.rglob("*.py")} | {path.parent.name for path in TESTS.rglob("*.py")}
    short = own - {"tests"} - sys.stdlib_module_names
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        assert node.level == 0, f"line {node.lineno}: relative import"
        first, *parts = (node.module or "").split(".")
        assert first not in short, f"line {node.lineno}: import it as tests.[...].{first}"
        names = {*parts, *(alias.name for alias in node.names)} if first == "tests" else set()
        assert not [name for name in names if name.startswith("test_")], f"line {node.lineno}: a helper needs its file"
