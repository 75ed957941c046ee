"""From an image to a model's inputs, and from its outputs to detections: one file for each family of models.

The artifact's metadata names its decoder; `export --onnx --decoder NAME` writes that name.
"""

import importlib.util
from pathlib import Path

from lth_deploy.decoders import lth, nanodet
from lth_deploy.decoders.protocol import DECODERS, Decoder, Feeds, Outputs, Photo
from lth_deploy.errors import UsageError

__all__ = ["DECODERS", "Decoder", "Feeds", "Outputs", "Photo", "load_decoder"]

DECODERS.add("lth", lth.LthDecoder())
DECODERS.add("nanodet", nanodet.NanoDetDecoder())


def load_decoder(name: str) -> Decoder:
    """The registered decoder `name`, or what the function in 'FILE.py:function' returns.

    The second form runs the file: it is the user's own code, given on the user's own command line. A name
    read from an artifact's metadata must go through `DECODERS.get`, which never runs files.

    Raises:
        UsageError: unknown name, no such file or function, or the result is not a decoder.
    """
    file, separator, function = name.rpartition(":")
    if not separator or not file.endswith(".py"):
        return DECODERS.get(name)
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"decoder '{name}': there is no file {path}; give FILE.py:function or a known name")
    spec = importlib.util.spec_from_file_location(f"lth_deploy_user_decoder_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"decoder '{name}': {path} cannot be imported as Python; give a .py file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    build = getattr(module, function, None)
    if not callable(build):
        raise UsageError(f"decoder '{name}': {path} has no function '{function}'; define it in that file")
    decoder = build()
    if not isinstance(decoder, Decoder):
        raise UsageError(
            f"decoder '{name}' returned {type(decoder).__name__}; return an object with class_names, "
            "prepare(image) and decode(outputs, context)"
        )
    return decoder
