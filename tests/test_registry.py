"""The registry and the error tree."""

import pytest

from lth_deploy import errors
from lth_deploy.errors import LthError, MissingExtraError, UsageError
from lth_deploy.registry import Registry, did_you_mean


def test_entries_come_back_by_name_and_in_order() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("two")(2)
    registry.add("one", 1)
    assert registry.names() == list(registry) == ["two", "one"]
    assert registry.get("one") == 1
    assert "two" in registry
    assert "three" not in registry


def test_an_unknown_name_gets_the_nearest_and_all_names() -> None:
    registry: Registry[int] = Registry("format")
    registry.add("bitmask", 1)
    registry.add("gaps4", 2)
    with pytest.raises(UsageError, match=r"unknown format 'bitmsk'; did you mean 'bitmask'\? valid: bitmask, gaps4"):
        registry.get("bitmsk")


def test_a_name_is_given_once() -> None:
    registry: Registry[int] = Registry("format")
    registry.add("dense", 1)
    with pytest.raises(ValueError, match="format 'dense' is registered twice"):
        registry.add("dense", 2)


def test_far_words_get_no_guess() -> None:
    assert did_you_mean("zzz", ["alpha"]) == "; valid: alpha"


def test_exit_codes_are_the_documented_ones() -> None:
    codes = {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, LthError)
    }
    assert codes == {
        "LthError": 1,
        "TrainingError": 1,
        "UsageError": 2,
        "UnreachableSparsityError": 2,
        "RecipeError": 2,
        "MissingExtraError": 2,
        "MissingPackageError": 2,
        "MissingLibraryError": 2,
        "DataError": 3,
        "ArtifactError": 3,
        "InputMismatchError": 3,
        "UnexpectedGraphError": 3,
        "ParityError": 4,
        "GateError": 5,
        "StorageError": 6,
        "BoardError": 7,
        "LinkLostError": 7,
    }


def test_a_missing_extra_says_how_to_install_it() -> None:
    message = str(MissingExtraError("torch", "train", "finding tickets"))
    assert message.startswith("finding tickets needs the package 'torch'")
    assert message.endswith("pip install 'lth-deploy[train]'")
