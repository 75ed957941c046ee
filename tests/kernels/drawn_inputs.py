"""What a property of kernels is checked on, beside the program: its images, and a generator for its weights."""

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.values import Window

SLOW_MACHINE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

ZEROS = st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0])
"""Shares of zeros in weights."""


def drawn_pictures(
    program: Program, data: st.DataObject, *, most: int, least: tuple[int, int] = (1, 1), more: int
) -> tuple[np.random.Generator, list[np.ndarray]]:
    """A generator and what it draws for the program: up to `most` images, each side up to `more` above its least."""
    sides = (data.draw(st.integers(side, side + more)) for side in least)
    shape = (data.draw(st.integers(1, most)), program.instructions[0].channels, *sides)  # type: ignore[union-attr]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    return rng, [rng.standard_normal(shape).astype(np.float32)]


def reach(window: Window) -> tuple[int, int]:
    """Height and width that a window covers, and an image without padding must have."""
    height, width = ((window.kernel[axis] - 1) * window.dilation[axis] + 1 for axis in (0, 1))
    return height, width
