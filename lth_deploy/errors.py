"""Every error that lth_deploy raises on purpose, with the exit code that the command line gives it.

A message states three facts: what failed, what was found, and what to do about it.
"""


class LthError(Exception):
    """Base of all deliberate errors; `exit_code` is what the command line returns.

    detail: what another library said of it, for the few who can read that; the message does without.
    """

    exit_code = 1

    def __init__(self, *arguments: object, detail: str | None = None) -> None:
        super().__init__(*arguments)
        self.detail = detail


class UsageError(LthError):
    """An argument or a combination of arguments that cannot work."""

    exit_code = 2


class UnreachableSparsityError(UsageError):
    """More zeros than the layers can take."""


class RecipeError(LthError):
    """A recipe or a target file that does not say what can be done."""

    exit_code = 2


class MissingPackageError(LthError):
    """An optional package is needed; the message has the command that installs it."""

    exit_code = 2

    def __init__(self, package: str, purpose: str, command: str) -> None:
        super().__init__(f"{purpose} needs the package '{package}', which is not installed; install it with: {command}")


class MissingExtraError(MissingPackageError):
    """An optional package is needed that comes with an extra of this one."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(package, purpose, f"pip install 'lth-deploy[{extra}]'")


class MissingLibraryError(LthError):
    """The kernel library is needed and was not built."""

    exit_code = 2


class DataError(LthError):
    """A data set, image, model file or run directory that is damaged or not what it should be."""

    exit_code = 3


class ArtifactError(DataError):
    """An ONNX file or a packed tensor inside one that breaks the format."""


class InputMismatchError(ArtifactError):
    """A model was given other inputs than it declares: other names, types or shapes."""


class UnexpectedGraphError(DataError):
    """A valid graph on which this program failed in a way that it did not foresee: a fault to report."""


class ParityError(LthError):
    """An exported file that does not compute what the trained model computes."""

    exit_code = 4


class GateError(LthError):
    """A measured figure that misses the bound it was held to."""

    exit_code = 5


class StorageError(LthError):
    """The disk refused: full, read-only, or locked by another process."""

    exit_code = 6


class BoardError(LthError):
    """A board that cannot be reached, refuses, or lacks what a measurement needs."""

    exit_code = 7


class LinkLostError(BoardError):
    """The link to a board was cut; what was asked may be asked again."""


class TrainingError(LthError):
    """Training cannot go on, for instance because the loss is no longer finite."""

    exit_code = 1


def detail_of(error: BaseException | None) -> str | None:
    """The detail of an error, or else of the error that it was raised from; None where none has one."""
    while error is not None:
        if isinstance(error, LthError) and error.detail is not None:
            return error.detail
        error = error.__cause__
    return None
