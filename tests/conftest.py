"""Fixtures that every test may use."""

import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from lth_deploy.config.machine_costs import NONE, VARIABLE
from lth_deploy.workflow.limits.settings import LIMITS

# What is tested must not depend on what somebody has measured on this machine.
os.environ[VARIABLE] = NONE
# Nor on the language in which its programs say what they refuse.
os.environ["LC_ALL"] = "C.UTF-8"
# Nor on whether they began in the background of a shell, which ignores Ctrl-C and hands that on.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Nor on how busy it is. In continuous integration hypothesis draws the same examples every time.
settings.register_profile("tests", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

_ENDED_WORKERS: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: with `--dist loadfile --no-loadscope-reorder` no worker is left alone with one."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The scheduler of `--dist loadfile`; None is the one of pytest-xdist."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.scheduling import UntilThereIsWork  # pytest-xdist may be absent

    return UntilThereIsWork(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The same random numbers in each test, whichever tests its worker has run before."""
    random.seed(0)
    np.random.seed(0)  # libraries draw from this one
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str) -> None:
    """Remember a test that has ended its worker; pytest-xdist runs it again, and forgets that it failed."""
    _ENDED_WORKERS.append(crashitem)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave the tests that ended a worker to the next run with `--last-failed`."""
    cache = getattr(session.config, "cache", None)
    if _ENDED_WORKERS and cache is not None:
        cache.set("cache/lastfailed", cache.get("cache/lastfailed", {}) | dict.fromkeys(_ENDED_WORKERS, True))


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power, so that waiting until a file is on the disk would prove nothing, 12 ms each time.

    That files are synced before they are renamed is tested with another replacement, in test_storage.py.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real images and models; `LTH_TEST_DATA` names it, and continuous integration must have it."""
    value = os.environ.get("LTH_TEST_DATA")
    if value and Path(value).is_dir():
        return Path(value)
    message = "LTH_TEST_DATA does not name the folder with the real data sets"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models run in the process of the test, so that faults planted there are seen."""
    monkeypatch.setenv(LIMITS, "off")
