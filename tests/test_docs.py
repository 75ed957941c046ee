"""Laws of the documentation: links lead somewhere, the index is complete, and the README stays short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("docs", "export", "benchmarks", "recipes")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
MAX_README_LINES = 90
LONGEST_LINE = 100
NOT_PROSE = re.compile(r"^\s*(\||#|<|\[[^\]]+\]:|!\[| {4})")  # tables, headings, HTML, targets of links, images, code
LONG_WORD = re.compile(r"\S{60,}")  # the address of a link cannot be broken


def _links(page: Path) -> list[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [target for target, _ in LINK.findall(text) if "://" not in target]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_of_the_repository(page: Path) -> None:
    broken = [target for target in _links(page) if not (page.parent / target).exists()]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped(page: Path) -> None:
    lines = FENCE.sub("", page.read_text(encoding="utf-8")).splitlines()
    prose = (line for line in lines if not NOT_PROSE.match(line) and not LONG_WORD.search(line))
    assert not [line for line in prose if len(line) > LONGEST_LINE]


def test_the_index_lists_every_page_of_the_folder() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / target).resolve() for target in _links(index)}
    assert {page.resolve() for page in (ROOT / "docs").glob("*.md")} - {index.resolve()} <= listed


def test_the_readme_can_be_read_in_a_minute() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_README_LINES
    assert not [line for line in lines if len(line) > 110]
