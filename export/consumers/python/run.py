"""Run an artifact with stock ONNX Runtime: the smallest program that does it, without lth_deploy.

Needs numpy, pillow and onnxruntime 1.17 or later:

    python run.py model.onnx photo.jpg              # detections of an lth_deploy export, one line each
    python run.py model.onnx --feeds in.npz --save out.npz     # any model: raw inputs to raw outputs
"""

import argparse
import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("images", nargs="*")
    parser.add_argument("--feeds", help="npz file with the model's inputs by name")
    parser.add_argument("--save", help="npz file for the outputs of --feeds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--score", type=float, default=0.5)
    arguments = parser.parse_args()

    # Nothing to register: the runtime inlines the functions that decode the weights, and folds them away.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    session = onnxruntime.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    if arguments.feeds:
        with np.load(arguments.feeds, allow_pickle=False) as feeds:
            values = session.run(names, {name: feeds[name] for name in feeds.files})
        np.savez(arguments.save or "outputs.npz", **dict(zip(names, values)))  # noqa: B905 (Python 3.9)

    about = json.loads(session.get_modelmeta().custom_metadata_map.get("lth_deploy", "{}"))
    classes = [entry["name"] for entry in about.get("classes", [])]
    for path in arguments.images:
        # Upright as EXIF says, as lth_deploy trains and evaluates; uint8 [height, width, 3].
        with Image.open(path, formats=["JPEG", "PNG", "BMP", "WEBP"]) as image:
            photo = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        found = dict(zip(names, session.run(names, {"image": photo})))  # noqa: B905
        for box, score, label in zip(found["boxes"], found["scores"], found["labels"]):  # noqa: B905
            if score >= arguments.score:
                name = classes[label - 1] if 0 < label <= len(classes) else str(label)
                print(path, name, f"{score:.3f}", *(f"{side:.1f}" for side in box))


if __name__ == "__main__":
    main()
