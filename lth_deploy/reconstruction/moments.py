"""What reconstruction knows of a layer: its weights, and the second moments of its inputs, summed over samples."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lth_deploy.errors import DataError

Matrix = npt.NDArray[np.floating[Any]]


class Moments:
    """The squared error of a layer's output is the trace of D H D^T for a change D of its weights.

    rows: the weights [group, outputs, d]. hessian: [group, d, d], H, the sum of x x^T over inputs x: half the Hessian
    of the error. With `constant`, a last input is 1 everywhere, and its weight is the bias.
    """

    def __init__(self, rows: npt.NDArray[np.generic], bias: npt.NDArray[np.generic] | None) -> None:
        """Args: the weights [group, outputs, inputs x taps], and their bias [group x outputs] where it may change."""
        self.rows: Matrix = rows.astype(np.float64)
        self.constant = bias is not None
        if bias is not None:
            column = bias.astype(np.float64).reshape(*rows.shape[:2], 1)
            self.rows = np.concatenate([self.rows, column], axis=2)
        self.hessian: Matrix = np.zeros((len(rows), self.rows.shape[2], self.rows.shape[2]))
        self.samples = 0

    @property
    def free(self) -> int:
        """Columns before the bias, whose weights may fall."""
        return int(self.rows.shape[2]) - int(self.constant)

    def add(self, samples: npt.NDArray[np.float32]) -> None:
        """Add inputs, float32 [group, n, inputs x taps]."""
        if self.constant:
            samples = np.concatenate([samples, np.ones((*samples.shape[:2], 1), np.float32)], axis=2)
        with np.errstate(invalid="ignore", over="ignore"):  # `check` tells of it, with the layer's name
            for group, x in enumerate(samples):
                self.hessian[group] += x.T @ x  # of one array with itself: half the work in BLAS
        self.samples += samples.shape[1]

    def check(self, name: str) -> None:
        """Refuse moments that cannot be used.

        Raises:
            DataError: there are no samples, or a value is not finite.
        """
        if not self.samples:
            raise DataError(f"layer '{name}': no calibration image reaches it; give images with objects")
        if not np.isfinite(self.hessian).all():
            raise DataError(
                f"layer '{name}': its inputs on the calibration images are not finite, so it cannot be reconstructed; "
                "check the model on these images, or exclude the layer"
            )

    def error(self, rows: Matrix) -> float:
        """Root mean square of the output's error with other `rows` over that of the output."""
        change = rows - self.rows
        power, lost = (max(float(np.sum((one @ self.hessian) * one)), 0.0) for one in (self.rows, change))
        return float(np.sqrt(lost / power)) if power > 0 else 0.0
