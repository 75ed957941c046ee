"""Lower bounds of dependencies: no release that they allow first is known to have a hole."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = Path(__file__).parents[2]
KNOWN: list[dict[str, Any]] = json.loads((Path(__file__).parent / "known_vulnerabilities.json").read_text())


def requirements() -> dict[str, list[str]]:
    """What pyproject.toml asks for, by the part of it that asks."""
    document = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    project = document["project"]
    return {"dependencies": project["dependencies"], **project["optional-dependencies"]}


def lowest(requirement: Requirement) -> Version | None:
    """The lowest version that a requirement names as a bound; None where it has no bound."""
    bounds = [Version(one.version) for one in requirement.specifier if one.operator in (">=", "==", "~=")]
    return max(bounds, default=None)


def holes(text: str) -> list[str]:
    """Advisories about the lowest version that a requirement allows."""
    requirement = Requirement(text)
    bound = lowest(requirement)
    name = canonicalize_name(requirement.name)
    return [
        advisory
        for entry in KNOWN
        if entry["package"] == name and bound is not None and bound in SpecifierSet(entry["versions"])
        for advisory in entry["advisories"]
    ]


@pytest.mark.parametrize(
    ("part", "text"), [(part, text) for part, texts in requirements().items() for text in texts], ids="{}".format
)
def test_the_lowest_release_that_is_allowed_has_no_known_hole(part: str, text: str) -> None:
    assert not holes(text), f"raise the bound of {text} in {part}"


# Stubs and formatters run on our own files only, and the newest is wanted.
WITHOUT_BOUND = {"types-PyYAML"}


def test_every_requirement_has_a_lower_bound() -> None:
    free = [text for texts in requirements().values() for text in texts if lowest(Requirement(text)) is None]
    assert set(free) <= WITHOUT_BOUND


def test_packages_that_parse_files_of_strangers_are_on_the_list() -> None:
    parsers = {"pillow", "onnx", "protobuf", "torch", "pyyaml", "numpy", "jinja2", "cryptography"}
    assert parsers <= {entry["package"] for entry in KNOWN}
    named = {canonicalize_name(Requirement(text).name) for texts in requirements().values() for text in texts}
    assert {entry["package"] for entry in KNOWN} <= named, "an entry is about a package that nothing asks for"


@pytest.mark.parametrize(
    ("text", "advisory"),
    [
        ("pillow>=10.3", "CVE-2026-25990"),
        ("Pillow >= 12.1.0", "CVE-2026-25990"),
        ("jinja2>=3.1", "CVE-2025-27516"),
        ("torch>=2.5", "CVE-2025-32434"),
        ("protobuf>=6.31.0", "CVE-2025-4565"),
    ],
)
def test_the_check_sees_a_known_hole(text: str, advisory: str) -> None:
    assert advisory in holes(text)


def test_the_list_is_well_formed() -> None:
    for entry in KNOWN:
        assert entry.keys() == {"package", "versions", "advisories", "what"}
        assert entry["package"] == canonicalize_name(entry["package"])
        assert entry["advisories"]
        assert all(one.split("-")[0] in ("CVE", "GHSA", "PYSEC") for one in entry["advisories"])
        SpecifierSet(entry["versions"])
