"""Optional packages, asked for before work starts."""

from lth_deploy.errors import MissingExtraError


def require_torch(purpose: str) -> None:
    """Refuse what trains or reads checkpoints where torch is not installed; `purpose` begins the message.

    Raises:
        MissingExtraError: torch or torchvision cannot be imported.
    """
    for package in ("torch", "torchvision"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(package, "train", purpose) from error
