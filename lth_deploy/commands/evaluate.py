"""`lth-deploy evaluate`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lth_deploy.commands.options import DecoderOption, Json, VerifyOption
from lth_deploy.commands.output import points, print_json, print_table


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="ONNX file, or exported run directory.")],
    data: Annotated[Path, typer.Option(help="COCO annotations.")],
    images: Annotated[Path, typer.Option(help="Folder of their images.")],
    engine: Annotated[str, typer.Option(help="Engine that runs the file.")] = "onnxruntime",
    threads: Annotated[int, typer.Option(min=0, help="0 leaves it to the engine.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many images only.")] = None,
    decoder: DecoderOption = None,
    verify: VerifyOption = False,
    by_class: Annotated[bool, typer.Option("--by-class", help="Add VOC's AP of boxes for each class.")] = False,
    as_json: Json = False,
) -> None:
    """AP of an ONNX file, with pycocotools' metrics and, of boxes, VOC's: 11 points (VOC07) and area (VOC10)."""
    from lth_deploy.workflow.limits.limited_verbs import limited_evaluate

    result = limited_evaluate(
        artifact, data, images, engine=engine, threads=threads, decoder=decoder, limit=limit, verify=verify
    )
    kinds, classes = result.ap.metrics, result.ap.voc.classes if result.ap.voc else ()
    names = list(next(iter(kinds.values())))
    rows = [[kind, *(points(metrics.get(name)) for name in names)] for kind, metrics in kinds.items()]
    print_table(["kind", *names], rows, to_stderr=as_json)
    if by_class:
        lines = [[one.name, str(one.objects), points(one.eleven_points), points(one.area)] for one in classes]
        print_table(["class", "objects", "VOC07", "VOC10"], lines, to_stderr=as_json)
    for note in result.ap.notes:
        print(note, file=sys.stderr)
    if as_json:
        print_json(
            {
                "artifact": str(result.artifact),
                "engine": result.engine,
                "ap": kinds,
                "voc_by_class": {
                    one.name: {"objects": one.objects, "VOC07": one.eleven_points, "VOC10": one.area} for one in classes
                },
                "seconds": result.seconds,
            }
        )
