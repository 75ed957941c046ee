import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lth_deploy.data.findings import FaultError
from lth_deploy.data.images import locate, read_image
from lth_deploy.errors import DataError


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_eight_bit_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (5, 3)).save(path)
    pixels = read_image(path)
    assert pixels.shape == (3, 5, 3)
    assert pixels.dtype == np.uint8


def test_sixteen_bit_is_refused_because_clipping_would_be_silent(tmp_path: Path) -> None:
    Image.fromarray(np.full((3, 5), 40000, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="8 bits"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("keep", [0, 10, 60, 300, 900])
@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "gif"])
def test_a_cut_file_is_a_data_error_that_names_it(suffix: str, keep: int, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=re.escape(f"a.{suffix}")):
        read_image(path)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (12000, 12000)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="bomb"), pytest.warns(Image.DecompressionBombWarning):
        read_image(tmp_path / "a.png")


def test_a_missing_file_and_a_folder_are_data_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.png", tmp_path):
        with pytest.raises(DataError):
            read_image(path)


def test_sub_folders_are_reached_and_nothing_outside(tmp_path: Path) -> None:
    assert locate(tmp_path, "val/a.png") == tmp_path / "val/a.png"
    for name in ("../a.png", "val/../../a.png", "/a.png", "..\\a.png", "", "a\0.png"):
        with pytest.raises(FaultError):
            locate(tmp_path, name)
