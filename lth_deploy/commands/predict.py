"""`lth-deploy predict`."""

from pathlib import Path
from typing import Annotated

import typer

from lth_deploy.commands.options import DecoderOption, VerifyOption
from lth_deploy.commands.output import print_table


def predict(
    artifact: Annotated[Path, typer.Argument(help="ONNX file, or exported run directory.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures.")],
    out: Annotated[Path, typer.Option(help="Folder for the images with detections.")],
    threshold: Annotated[float, typer.Option(help="Least score that is drawn.")] = 0.5,
    engine: Annotated[str, typer.Option(help="Engine that runs the file.")] = "onnxruntime",
    threads: Annotated[int, typer.Option(min=0, help="0 leaves it to the engine.")] = 0,
    decoder: DecoderOption = None,
    verify: VerifyOption = False,
) -> None:
    """Draw boxes, masks and keypoints into pictures."""
    from lth_deploy.workflow.limits.limited_verbs import limited_predict

    found = limited_predict(
        artifact, images, out, threshold=threshold, engine=engine, threads=threads, decoder=decoder, verify=verify
    )
    print_table(["picture", "objects"], [[str(picture), str(objects)] for picture, objects in found])
