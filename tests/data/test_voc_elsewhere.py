"""VOC folders as other tools and systems leave them."""

from pathlib import Path

import pytest
from PIL import Image

from lth_deploy.data.coco.check import check_coco
from lth_deploy.data.coco.load import load_coco
from lth_deploy.data.voc.convert import ALL, VocConversion, convert_voc
from lth_deploy.data.voc.xml import read_voc_xml
from lth_deploy.errors import DataError

BOX = ("3", "4", "20", "25")


def xml(*boxes: tuple[str, str, str, str], name: str = "cup", head: str = "", file: str = "f") -> str:
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in boxes
    )
    size = "<size><width>40</width><height>30</height></size>"
    return f"{head}<annotation><folder>..\\..</folder><filename>{file}</filename>{size}{objects}</annotation>"


class Voc:
    """A folder that a test fills."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / part).mkdir(parents=True)

    def add(self, stem: str, text: str | bytes | None = None, suffix: str = ".jpg", ending: str = ".xml") -> None:
        content = xml(BOX) if text is None else text
        data = content.encode() if isinstance(content, str) else content
        (self.root / "Annotations" / (stem + ending)).write_bytes(data)
        with (self.root / "JPEGImages" / (stem + suffix)).open("wb") as file:
            Image.new("RGB", (40, 30)).save(file, "PNG" if suffix.lower() == ".png" else "JPEG")

    def convert(self, lines: str | bytes | None = None) -> VocConversion:
        if lines is None:
            return convert_voc(self.root, ALL, self.root / "out.json")
        data = lines.encode() if isinstance(lines, str) else lines
        (self.root / "ImageSets/Main/train.txt").write_bytes(data)
        return convert_voc(self.root, "train", self.root / "out.json")

    def names(self, lines: str | bytes | None = None) -> list[str]:
        made = self.convert(lines)
        return [image.file_name for image in load_coco(made.annotations, made.images, decode_images=True).images]


@pytest.fixture
def voc(tmp_path: Path) -> Voc:
    return Voc(tmp_path / "voc")


def test_names_with_spaces_are_names(voc: Voc) -> None:
    for stem in ("img 1", "img 2 (copy)", "a b  c"):
        voc.add(stem)
    assert voc.names("img 1\nimg 2 (copy)\na b  c\n") == ["img 1.jpg", "img 2 (copy).jpg", "a b  c.jpg"]


@pytest.mark.parametrize("gap", [" ", "  ", "\t", " \t"])
def test_labels_behind_names_with_spaces_are_labels(gap: str, voc: Voc) -> None:
    for stem in ("img 1", "img 2", "img"):
        voc.add(stem)
    assert voc.names(f"img 1{gap}1\nimg 2{gap}-1\nimg{gap}0\n") == ["img 1.jpg", "img.jpg"]


def test_what_is_a_name_and_a_label_both_is_decided_by_the_other_lines(voc: Voc) -> None:
    for stem in ("img", "img 1", "cup"):
        voc.add(stem)
    assert voc.names("img 1\ncup -1\n") == ["img.jpg"]
    assert voc.names("img 1\ncup\n") == ["img 1.jpg", "cup.jpg"]
    with pytest.raises(DataError, match=r"train.txt: 'img 1' is the name of an image, but also"):
        voc.convert("img 1\n")
    assert voc.names("img 1.jpg\n") == ["img 1.jpg"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_lists_may_have_byte_order_marks_and_windows_line_ends(encoding: str, voc: Voc) -> None:
    for stem in ("Käse", "b"):
        voc.add(stem)
    assert voc.names("Käse\r\nb\r\n\r\n".encode(encoding)) == ["Käse.jpg", "b.jpg"]
    with pytest.raises(DataError, match=r"train.txt is no text in utf-8"):
        voc.convert("Käse\r\n".encode("cp1252"))


def test_lists_may_name_files_and_other_cases(voc: Voc) -> None:
    for stem in ("One", "two", "v1.5"):
        voc.add(stem)
    assert voc.names("one\ntwo.xml\nv1.5.JPG\n") == ["One.jpg", "two.jpg", "v1.5.jpg"]


@pytest.mark.parametrize("lines", ["gone\n", "one\n../one\n", "one 2\n", "one 1 1\n"])
def test_a_line_that_names_nothing_is_named(lines: str, voc: Voc) -> None:
    voc.add("one")
    with pytest.raises(DataError, match=r"train.txt lists .* no annotation file"):
        voc.convert(lines)
    assert not (voc.root / "out.json").exists()


@pytest.mark.parametrize("suffix", [".JPG", ".Jpeg", ".PNG", ".webp"])
def test_endings_in_upper_case(suffix: str, voc: Voc) -> None:
    if suffix == ".webp":
        voc.add("a", ending=".XML")
        (voc.root / "JPEGImages/a.jpg").unlink()
        Image.new("RGB", (40, 30)).save(voc.root / "JPEGImages/a.webp")
    else:
        voc.add("a", suffix=suffix, ending=".XML")
    assert voc.names() == voc.names("a\n") == [f"a{suffix}"]


def test_what_macos_adds_is_no_annotation(voc: Voc) -> None:
    voc.add("a")
    (voc.root / "Annotations/._a.xml").write_bytes(b"\0\5\x16\7")
    (voc.root / "JPEGImages/._a.jpg").write_bytes(b"\0\5\x16\7")
    assert voc.names() == ["a.jpg"]


def test_two_annotation_files_of_one_image_are_refused(voc: Voc) -> None:
    voc.add("a")
    voc.add("a", ending=".XML")
    with pytest.raises(DataError, match=r"a.xml: there is a.XML too"):
        voc.convert()


def test_of_two_images_of_one_name_the_annotation_says_which(voc: Voc) -> None:
    voc.add("a", xml(BOX, file="C:\\data\\a.png"))
    voc.add("a", xml(BOX, file="C:\\data\\a.png"), suffix=".png")
    assert voc.names() == ["a.png"]


@pytest.mark.parametrize(
    "file", ["..\\..\\secret.png", "C:\\secret.png", "/tmp/secret.png", "\\\\host\\share\\secret.png"]
)
def test_names_in_annotations_lead_nowhere(file: str, voc: Voc, tmp_path: Path) -> None:
    voc.add("a", xml(BOX, file=file))
    (voc.root / "JPEGImages/a.jpg").unlink()
    Image.new("RGB", (40, 30)).save(tmp_path / "secret.png")
    with pytest.raises(DataError, match="no image 'a'"):
        voc.convert()
    Image.new("RGB", (40, 30)).save(voc.root / "JPEGImages/secret.png")
    assert voc.names() == ["secret.png"]


def test_a_link_out_of_the_folder_is_refused(voc: Voc, tmp_path: Path) -> None:
    voc.add("a")
    (voc.root / "JPEGImages/a.jpg").rename(tmp_path / "a.jpg")
    (voc.root / "JPEGImages/a.jpg").symlink_to(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a.xml: .*link"):
        voc.convert()


def test_swapped_corners_are_put_in_order_and_said(voc: Voc) -> None:
    voc.add("a", xml(BOX, ("20", "4", "3", "25")))
    voc.add("b", xml(("20", "25", "3", "4"), ("3", "25", "20", "4")))
    voc.add("c")
    made = voc.convert()
    (note,) = made.notes
    assert note.startswith("swapped corners were put in order: 3 objects in 2 files; the first is object 2 of ")
    assert note.endswith("a.xml: xmin 20, ymin 4, xmax 3, ymax 25")
    dataset = load_coco(made.annotations, made.images)
    assert {one.bbox for group in dataset.annotations.values() for one in group} == {(2, 3, 18, 22)}
    assert voc.convert("c\n").notes == ()


def test_identical_objects_are_noticed_by_the_check(voc: Voc) -> None:
    voc.add("a", xml(BOX, BOX, BOX, ("1", "1", "9", "9")))
    made = voc.convert()
    (finding,) = check_coco(made.annotations, made.images).findings
    assert (finding.severity, finding.where) == ("notice", "annotation 2")
    assert "identical to annotation 1" in finding.message
    assert "1 more" in finding.message


@pytest.mark.parametrize("text", ["12.0", " 12 ", "\n12\t", "+12", "1.2e1", "12."])
def test_plain_numbers_are_read(text: str, voc: Voc) -> None:
    voc.add("a", xml((text, text, "20", "25")).replace(">40<", "> 40.0 <").replace(">30<", ">30<"))
    made = voc.convert()
    dataset = load_coco(made.annotations, made.images)
    assert dataset.annotations[1][0].bbox == (11, 11, 9, 14)
    assert (dataset.images[0].width, dataset.images[0].height) == (40, 30)


@pytest.mark.parametrize(
    "text", ["12,5", "1_2", "0x0c", "nan", "inf", "1e999", "1e7", "", "twelve", "\u0661\u0662", "1 2"]
)
def test_everything_else_is_refused_with_file_and_object(text: str, voc: Voc) -> None:
    voc.add("a", xml(BOX, (text, "4", "20", "25")))
    with pytest.raises(DataError, match=r"a.xml: object 2 has no usable <xmin> in <bndbox>: "):
        voc.convert()


HEAD = '<?xml version="1.0" encoding="{}"?>'
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_annotations_in_other_encodings(encoding: str, voc: Voc) -> None:
    voc.add("a", xml(BOX, name="Käse", head=HEAD.format(encoding.removesuffix("-sig"))).encode(encoding))
    assert voc.convert().classes == ("Käse",)


@pytest.mark.parametrize(
    ("encoding", "name"), [("GB2312", "杯子"), ("gb18030", "杯子"), ("Shift_JIS", "コップ"), ("EUC-KR", "컵")]
)
def test_annotations_in_east_asian_encodings(encoding: str, name: str, voc: Voc) -> None:
    text = xml(BOX, name=name, head=HEAD.format(encoding))
    voc.add("a", text.encode(encoding))
    assert voc.convert().classes == (name,)
    (voc.root / "Annotations/a.xml").write_bytes(text.encode(encoding).replace(b"<name>", b"<name>\xff"))
    with pytest.raises(DataError, match=r"a.xml is no text in"):
        voc.convert()
    bomb = HEAD.format(encoding) + "<!DOCTYPE a [<!ENTITY b 'b'>]><annotation>&b;</annotation>"
    (voc.root / "Annotations/a.xml").write_bytes(bomb.encode(encoding))
    with pytest.raises(DataError, match="DOCTYPE"):
        read_voc_xml(voc.root / "Annotations/a.xml")
