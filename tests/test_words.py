"""Laws of words: American spelling as ONNX has it, and one name for one thing, as docs/glossary.md says."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("lth_deploy", "tests", "docs", "benchmarks", "export", "recipes")
FILES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", "pyproject.toml", ".ci/run", ".ci/wheels")
KINDS = {".py", ".md", ".cpp", ".h", ".inl", ".txt", ".cmake", ".yaml", ".css", ".j2"}

# A format, a variable of C++, a detector, an import style's fault that a test makes, and the Frobenius norm.
RIGHT = ("coo", "kown", "dfine", "levls", "fro")

# A private word, what to write instead, and where it stands for something else.
BANNED = (
    ("fallen", "pruned", ()),
    ("told", "reported, given, set, distinguished", ()),
    ("earned", "say what was computed", ()),
    ("stuck", "say what cannot go on", ()),
    ("lively", "say what the values are", ()),
    ("bytewise", "quantized", ()),
    ("first cache", "L1 cache", ("docs/glossary.md",)),
    ("second cache", "L2 cache", ("docs/glossary.md",)),
    ("quantise", "quantize", ()),
    ("normalise", "normalize", ()),
)
# As names of variables and functions these say nothing of what is held or done.
VAGUE = frozenset({"able", "alone", "apart", "asked", "mine", "stuck", "told"})

# Pictures are what is drawn for people; what a detector reads is an image.
DRAWN = ("commands/predict.py", "commands/report.py", "run/summary.py", "workflow/predict.py", "workflow/report.py")
DRAWN += ("workflow/tracking/mlflow.py", "workflow/tracking/tensorboard.py")
DRAWN += ("workflow/search/example_images.py", "workflow/search/summary.py", "workflow/limits/limited_verbs.py")
IN_FILES = ("compiler/artifact/roi_align.py",)  # the name of a tensor inside exported files

# Published results of benchmarks/torso.py have it as a key.
KEYS = ("benchmarks/torso.py", "benchmarks/torso_plot.py", "benchmarks/deepsparse_peer.py", "docs/glossary.md")

# Words of the glossary's third column that the project needs in another sense.
COMMON = frozenset({"1x4", "ask for", "bytes", "density", "fall", "fall-back", "hold", "image", "pair", "prepare"})
COMMON |= frozenset({"quad", "sum", "unit"})


def _texts() -> Iterator[tuple[str, str]]:
    """Path and text of everything that people write and read."""
    files = [file for part in PARTS for file in sorted((ROOT / part).rglob("*")) if file.suffix in KINDS]
    for file in [*files, *(ROOT / name for name in FILES)]:
        if not {"found", "third_party"} & set(file.parts) and file != Path(__file__).resolve():
            yield str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")


TEXTS = dict(_texts())


def _lines_with(word: str, allowed: tuple[str, ...] = ()) -> list[str]:
    # Parts of identifiers count: words in them end at underscores.
    pattern = re.compile(rf"(?<![a-z]){re.escape(word)}(?![a-z])", re.IGNORECASE)
    return [
        f"{path}:{number}: {line.strip()}"
        for path, text in TEXTS.items()
        if not path.endswith(allowed)
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def _glossary_bans() -> set[str]:
    rows = [line.strip("|").split("|") for line in TEXTS["docs/glossary.md"].splitlines() if line.startswith("|")]
    words = {word.strip() for row in rows if len(row) == 3 for word in row[2].split(",")}
    return words - {"", "not", "---"}


def test_everything_is_spelled_as_codespell_knows_it() -> None:
    pytest.importorskip("codespell_lib", reason="codespell comes with the extra 'dev'")
    command = [sys.executable, "-m", "codespell_lib", "--builtin", "clear,rare,en-GB_to_en-US"]
    command += ["--ignore-words-list", ",".join(RIGHT), "--", *TEXTS]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(("word", "instead", "allowed"), BANNED, ids=[word for word, _, _ in BANNED])
def test_private_words_are_not_used(word: str, instead: str, allowed: tuple[str, ...]) -> None:
    assert _lines_with(word, allowed) == [], f"write {instead}"


def test_what_a_detector_reads_is_an_image() -> None:
    package = [line for word in ("picture", "pictures") for line in _lines_with(word, (*DRAWN, *IN_FILES))]
    assert [line for line in package if line.startswith("lth_deploy/") and ".py:" in line] == []


def test_words_that_the_glossary_rejects_are_not_used() -> None:
    rejected = _glossary_bans()
    assert rejected >= COMMON, "a word of COMMON is no longer in the glossary"
    assert {word: lines for word in rejected - COMMON if (lines := _lines_with(word, KEYS))} == {}


def test_variables_and_functions_have_names_that_say_what_they_hold() -> None:
    sources = {path: text for path, text in TEXTS.items() if path.startswith("lth_deploy/") and path.endswith(".py")}
    assert {path: names for path, text in sources.items() if (names := _named_vaguely(text))} == {}


def _named_vaguely(source: str) -> list[str]:
    """Line and name of what is called by one of VAGUE."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = node.name.strip("_")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        else:
            continue
        if name in VAGUE:
            found.append(f"{node.lineno}: {name}")
    return found


def test_vague_names_are_seen_wherever_they_are_given() -> None:
    source = "def alone(told): mine = 1\nfor asked in (): pass"
    assert sorted(_named_vaguely(source)) == ["1: alone", "1: mine", "1: told", "2: asked"]


def test_the_laws_see_words_inside_identifiers_and_no_parts_of_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXTS, "new.py", "def weights_fallen_before() -> None: ...")
    assert _lines_with("fallen") == ["new.py:1: def weights_fallen_before() -> None: ..."]
    assert _lines_with("weight_fallen") == []
