"""An export with a region, its images as PPM, and the C++ consumer built for this machine and for 64-bit ARM."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime
import pytest

from lth_deploy.kernels import ops_library
from tests.consumers.consumers import Consumer, Export
from tests.cross import (
    PROJECT,
    cmake_build,
    cross_build,
    emulator_for_onnxruntime,
    kernels_for_arm,
    needs_cross_tools,
    one_at_a_time,
)
from tests.tiny_artifact import save_data, save_ticket

SOURCE = PROJECT / "export" / "consumers" / "cpp"


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    folder = tmp_path_factory.mktemp("export")
    data, images = save_data(folder)
    subprocess.run([sys.executable, SOURCE / "to_ppm.py", data, images, folder / "ppm"], check=True, timeout=300)
    return Export(save_ticket(folder), folder / "ppm" / "list.txt", data, images)


@pytest.fixture(scope="session")
def native() -> Consumer:
    folder = cmake_build(SOURCE, PROJECT / "build" / "consumer", "-DCMAKE_CXX_FLAGS=-Werror -Wpedantic")
    found = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))
    if not found:
        pytest.skip("this wheel of ONNX Runtime has no shared library of its own")
    return Consumer((str(folder / "lth_consumer"),), found[0], ops_library())


@pytest.fixture(scope="session")
def arm() -> Consumer:
    needs_cross_tools()
    folder = cross_build(SOURCE, "consumer-aarch64", "-DCMAKE_CXX_FLAGS=-Werror -Wpedantic")
    command = (*emulator_for_onnxruntime(), str(folder / "lth_consumer"))
    return Consumer(command, _runtime_for_arm(), kernels_for_arm() / "liblth_ops.so")


def _runtime_for_arm() -> Path:
    """The shared library in ONNX Runtime's own wheel."""
    folder = PROJECT / "build" / "onnxruntime-aarch64"
    with one_at_a_time(folder):
        return _unpacked(folder, onnxruntime.__version__)


def _unpacked(folder: Path, version: str) -> Path:
    unpacked = folder / version
    if not unpacked.is_dir():
        platforms = [part for tag in ("2_27", "2_28") for part in ("--platform", f"manylinux_{tag}_aarch64")]
        wanted = ["--only-binary=:all:", "--no-deps", "--dest", str(folder), f"onnxruntime=={version}"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", *platforms, *wanted]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            reason = f"ONNX Runtime {version} for aarch64 cannot be had: {done.stderr.strip()[-300:]}"
            pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
        (wheel,) = folder.glob(f"onnxruntime-{version}-*.whl")
        with zipfile.ZipFile(wheel) as archive, TemporaryDirectory(dir=folder) as new:
            (name,) = (name for name in archive.namelist() if Path(name).name.startswith("libonnxruntime.so"))
            (Path(new) / version).mkdir()
            (Path(new) / version / Path(name).name).write_bytes(archive.read(name))
            (Path(new) / version).rename(unpacked)
    (library,) = unpacked.iterdir()
    return library
