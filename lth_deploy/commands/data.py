"""`lth-deploy data`."""

from pathlib import Path
from typing import Annotated

import typer

from lth_deploy.commands.output import print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Check, convert and draw data sets.")


@app.command()
def check(
    annotations: Annotated[Path, typer.Argument(help="COCO JSON.")],
    images: Annotated[Path, typer.Argument(help="Folder of the images.")],
    fast: Annotated[bool, typer.Option("--fast", help="Read only the headers of the images.")] = False,
) -> None:
    """Find every fault of a COCO data set; exit code 3 when there is one."""
    from lth_deploy.errors import DataError
    from lth_deploy.workflow.data import check_data

    report = check_data(annotations, images, decode_images=not fast)
    for finding in report.findings:
        print(finding)
    print_table(["what", "count"], [[key, str(value)] for key, value in report.counts.items()])
    if not report.passed:
        raise DataError(f"{annotations}: {report.counts['errors']} faults; repair them before training")


@app.command()
def coco(
    folder: Annotated[Path, typer.Argument(help="Folder with annotations/, train2017/ and val2017/.")],
    decode: Annotated[bool, typer.Option("--decode", help="Decode every image, not only its header.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Check a folder of COCO 2017: files, images, sizes and the published numbers; exit code 3 when something lacks."""
    from dataclasses import asdict

    from lth_deploy.errors import DataError
    from lth_deploy.workflow.data import check_coco_folder

    reports = check_coco_folder(folder, decode_images=decode)
    rows = [
        [one.name, one.state, str(one.images), str(one.present), str(one.annotations), (one.digest or "")[:16]]
        for one in reports
    ]
    head = ["annotations", "state", "images listed", "image files", "objects", "sha256"]
    print_table(head, rows, to_stderr=as_json)
    if as_json:
        print_json([asdict(one) for one in reports])
    problems = [f"  {problem}" for one in reports for problem in one.problems]
    if problems:
        raise DataError("\n".join([f"{folder} is not the whole of COCO 2017:", *problems]))


@app.command("from-voc")
def from_voc(
    root: Annotated[Path, typer.Argument(help="VOC folder with Annotations/ and JPEGImages/.")],
    out: Annotated[Path, typer.Argument(help="COCO JSON to write.")],
    split: Annotated[str, typer.Option(help="A list in ImageSets/Main, or all.")] = "all",
) -> None:
    """Convert Pascal VOC XML to COCO JSON."""
    from lth_deploy.workflow.data import data_from_voc

    made = data_from_voc(root, split, out)
    rows = [
        ["annotations", str(made.annotations)],
        ["images", str(made.images)],
        ["image count", str(made.image_count)],
        ["object count", str(made.object_count)],
        ["difficult, kept as ignored", str(made.difficult)],
        ["classes", ", ".join(made.classes)],
    ]
    print_table(["what", "value"], rows)
    for note in made.notes:
        print(note)


@app.command()
def crops(
    annotations: Annotated[Path, typer.Argument(help="COCO JSON.")],
    images: Annotated[Path, typer.Argument(help="Folder of the images.")],
    out: Annotated[Path, typer.Option(help="Image folder to write, CLASS/IMAGE.png.")],
    pad: Annotated[float, typer.Option(help="Margin on each side, as a share of the box.")] = 0.2,
    smallest: Annotated[int, typer.Option(min=1, help="Least side of a box in pixels.")] = 8,
    most: Annotated[int, typer.Option(min=0, help="So many objects a class at most; 0 takes all.")] = 0,
) -> None:
    """Cut objects out of their images: an image folder by class, to train a classifier on."""
    from lth_deploy.workflow.data import crop_objects

    counts = crop_objects(annotations, images, out, pad=pad, smallest=smallest, most=most)
    print_table(["class", "images"], [[name, str(count)] for name, count in counts.items()])


@app.command()
def shapes(
    out: Annotated[Path, typer.Argument(help="Folder to draw into.")],
    train: Annotated[int, typer.Option(min=1, help="Images to train on.")] = 200,
    val: Annotated[int, typer.Option(min=1, help="Images to choose on.")] = 50,
    test: Annotated[int, typer.Option(min=1, help="Images to report on.")] = 50,
    width: Annotated[int, typer.Option(min=32, help="Pixels.")] = 160,
    height: Annotated[int, typer.Option(min=32, help="Pixels.")] = 160,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds draw equal images.")] = 0,
) -> None:
    """Draw the generated data set: boxes, masks and keypoints, no download."""
    from lth_deploy.workflow.data import draw_shapes

    for offset, (split, count) in enumerate((("train", train), ("val", val), ("test", test))):
        made = draw_shapes(out, {split: count}, size=(width, height), seed=3 * seed + offset)
        print(f"{split}: {made[split]}")
