"""The page in a real browser: it renders, its script runs, and the console stays empty.

Starting Chromium takes seconds, so there is one page for all claims and one planted fault.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lth_deploy.workflow.report import report

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--enable-logging=stderr", "--v=0", "--dump-dom"),
)


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found:
        return found
    message = "no Chromium on this machine; install Debian's package chromium"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def opened(chromium: str, page: Path, profile: Path) -> tuple[str, list[str]]:
    """The document after its scripts ran, and the lines that the page wrote to the console."""
    done = subprocess.run(
        [chromium, *FLAGS, f"--user-data-dir={profile}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_the_page_renders_without_errors(chromium: str, run_directory: Path, tmp_path: Path) -> None:
    page = report(run_directory, tmp_path / "report.html")
    document, console = opened(chromium, page, tmp_path / "profile")
    assert console == []
    assert "A winning ticket" in document
    assert document.count("<svg") >= 8
    assert 'tabindex="0"' in document.split("<thead>")[1], "the sorting script did not run"


def test_what_the_policy_forbids_is_noticed(chromium: str, run_directory: Path, tmp_path: Path) -> None:
    page = report(run_directory, tmp_path / "report.html")
    planted = '<script>document.body.append("planted")</script></main>'
    page.write_text(page.read_text(encoding="utf-8").replace("</main>", planted), encoding="utf-8")
    document, console = opened(chromium, page, tmp_path / "profile")
    assert any("Content Security Policy" in line for line in console)
    assert "planted</body>" not in document.replace("\n", "")
