"""YAML in and out: one meaning for every scalar, a line for every fault, and no surprises."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lth_deploy.config.strict_yaml import MAX_BYTES, dump, load, parse
from lth_deploy.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-0.25", -0.25),
        ("+7", 7),
        ("010", 10),
        ("09", 9),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("12:30.5", "12:30.5"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("2020-01-01", "2020-01-01"),
        ("'1e-3'", "1e-3"),
        ("=", "="),
        ("<<", "<<"),
        ("[1, x]", [1, "x"]),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    found = parse(f"key: {text}", "file.yaml").value["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_read() -> None:
    assert math.isnan(parse("key: .nan", "file.yaml").value["key"])


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3", 3, "'a' is given twice"),
        ("x:\n  a: 1\n  'a': 2", 3, "'a' is given twice"),
        ("a: &name [1]\nb: *name", 2, r"alias \*name is not allowed; write the value out"),
        ("a: &name [*name]", 1, "alias"),
        ("- &name {a: *name}", 1, "alias"),
        ("a: 1\nb: !!python/object:os.system x", 2, "tag .*python/object.* is not allowed"),
        ("a: !!set {x}", 1, "tag"),
        ("a: !!str 5", 1, "tag"),
        ("a: !mine 5", 1, "tag !mine"),
        ("a: ! 5", 1, "tag"),
        ("a: 1\n2: b", 2, "keys are plain words, found '2'"),
        ("a: 1\n? [b]\n: c", 2, "keys are plain words, found a list or a mapping"),
        ("a: [1", 1, "expected"),
        ("a: 1\nb: c: d", 2, "mapping values are not allowed"),
        ("a: 1\n---\nb: 2", 2, "another document"),
        ("\ta: 1", 1, "cannot start any token"),
    ],
)
def test_what_is_refused_names_file_and_line(text: str, line: int, words: str) -> None:
    with pytest.raises(RecipeError, match=rf"file\.yaml, line {line}: .*{words}"):
        parse(text, "file.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 5000, "nested too deeply"),
        ("a: " + "1" * 5000, "a number has thousands of digits"),
        ("a: \x00", "unacceptable character"),
        ("a" * (MAX_BYTES + 1), f"at most {MAX_BYTES}"),
    ],
)
def test_hostile_text_gives_an_error_of_ours(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        parse(text, "file.yaml")
    assert str(caught.value).startswith("file.yaml: ")


def test_lines_are_those_of_the_keys() -> None:
    document = parse("# comment\na:\n  b:\n    - 1\n    - c: 2\nd: 3\n", "file.yaml")
    assert document.lines[("a",)] == 2
    assert document.lines[("a", "b")] == 3
    assert document.lines[("a", "b", 1)] == 5
    assert document.lines[("a", "b", 1, "c")] == 5
    assert document.lines[("d",)] == 6
    assert document.line_of(("a", "b", "missing", "deeper")) == 3
    assert document.line_of(("nowhere",)) == 2, "where the keys begin"


def test_an_empty_file_is_nothing() -> None:
    assert parse("# only a comment\n", "file.yaml").value is None


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4")
    for name, words in (("missing.yaml", "No such file"), ("latin.yaml", "utf-8"), (".", "Is a directory")):
        with pytest.raises(RecipeError, match=words) as caught:
            load(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


# Text that YAML can hold at all; the words are those which some version of YAML reads as something else.
TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    [
        "1e-3",
        "1e5",
        "010",
        "0o7",
        "0x1",
        "1_0",
        "12:30",
        "on",
        "No",
        "~",
        "null",
        "=",
        "<<",
        "",
        " ",
        "2020-01-01",
        ".5",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(VALUES)
def test_what_is_dumped_is_parsed_back(value: Any) -> None:
    found = parse(dump(value), "file.yaml").value
    assert found == value
    assert repr(found) == repr(value)  # True is not 1, and -0.0 is not 0.0


def test_a_value_that_stands_twice_is_written_twice() -> None:
    shared = [0.8, 0.9]
    value = {"random": shared, "reinit": shared}
    assert parse(dump(value), "file.yaml").value == value
