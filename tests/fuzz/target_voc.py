"""Pascal VOC folders: XML, lists of splits, names and images, through `data from-voc`."""

from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random

from PIL import Image

from tests.fuzz.case import Case
from tests.fuzz.mutate_bytes import damaged, damaged_text

NAME = "voc"
_XML = """\
<annotation>
  <folder>VOC</folder>
  <filename>{name}.jpg</filename>
  <size><width>40</width><height>30</height><depth>3</depth></size>
  <segmented>0</segmented>
  <object>
    <name>cell</name><pose>Left</pose><truncated>0</truncated><difficult>0</difficult>
    <bndbox><xmin>4</xmin><ymin>5</ymin><xmax>20</xmax><ymax>18</ymax></bndbox>
  </object>
  <object>
    <name>dust</name><difficult>1</difficult>
    <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>40</xmax><ymax>30</ymax></bndbox>
  </object>
</annotation>
"""
_ODD_XML = (
    '<!DOCTYPE a [<!ENTITY x "aaaaaaaaaa"><!ENTITY y "&x;&x;&x;&x;&x;&x;">]>\n<annotation>&y;</annotation>',
    '<!DOCTYPE a [<!ENTITY x SYSTEM "../secret.bin">]>\n<annotation><filename>&x;</filename></annotation>',
    "<annotation>" + "<object>" * 3000,
    "<a>" * 20000 + "</a>" * 20000,
    '<?xml version="1.0" encoding="utf-7"?><annotation/>',
    '<?xml version="1.0" encoding="no-such"?><annotation/>',
    "\ufeff<annotation/>",
)
_NAMES = ("a b", "ä", "x" * 200, "-r", "a.b", "..", "A", "\n", "\udcff", "'", "a%20b")


def prepare(folder: Path) -> None:
    """Nothing: the files are text."""


@cache
def _picture(kind: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (40, 30), (200, 90, 30)).save(file, kind)
    return file.getvalue()


def _xml(name: str, random: Random) -> bytes:
    text = _XML.format(name=name)
    kind = random.random()
    if kind < 0.1:
        return random.choice(_ODD_XML).encode("utf-8", "surrogatepass")
    if kind < 0.6:
        # Between tags, so that a number or a name is exchanged and not a whole line.
        return damaged_text(text.replace(">", "> ").replace("<", " <"), random)
    return damaged(text.encode("utf-8", "surrogateescape"), random)


def draw(seeds: Path, random: Random) -> Case:
    names = ["first", "second", "third"]
    if random.random() < 0.2:
        names[0] = random.choice(_NAMES)
    hit = random.choice(names)
    files: dict[str, bytes | Path | None] = {}
    for name in names:
        changed = name == hit and random.random() < 0.75
        sound = _XML.format(name=name).encode("utf-8", "surrogateescape")
        files[f"VOC/Annotations/{name}.xml"] = _xml(name, random) if changed else sound
        suffix = random.choice(("jpg", "jpg", "jpg", "JPG", "png"))
        files[f"VOC/JPEGImages/{name}.{suffix}"] = _picture("JPEG")
    listed = "\n".join(names) + "\n"
    text = damaged_text(listed, random) if random.random() < 0.3 else listed.encode("utf-8", "surrogateescape")
    files["VOC/ImageSets/Main/train.txt"] = text
    if random.random() < 0.15:
        place = random.choice(list(files))
        files[place] = random.choice((None, b"", Path("absent"), Path("../../secret.bin"), Path()))
    if random.random() < 0.1:
        picture = random.choice([name for name in files if "JPEGImages" in name])
        files[picture] = damaged(_picture("JPEG"), random)
    split = random.choice(("train", "train", "all", "../x", "absent"))
    # Names that no folder can hold, such as two dots, are left out.
    files = {name: content for name, content in files.items() if "/../" not in name and "/..." not in name}
    return Case(NAME, ("data", "from-voc", "VOC", "made.json", "--split", split), files)
