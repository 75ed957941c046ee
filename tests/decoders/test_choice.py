"""Which decoder a model gets without being named, and what is said where none, several or a wrong one fits."""

import json

import pytest

from lth_deploy.decoders import choose, fit_named
from lth_deploy.decoders.model.class_names import parse_names
from lth_deploy.errors import ArtifactError, UsageError
from tests.decoders.models import Shapes, signature

N = 8400
"""Cells of strides 8, 16 and 32 on 640 pixels."""

ULTRALYTICS = {"author": "Ultralytics", "task": "detect", "stride": "32", "imgsz": "[640, 640]"}
LIE = "'names' names 3 classes, but output 'output0' .* has 2"
NAMES = "{0: 'car', 1: \"driver's seat\"}"


@pytest.mark.parametrize(
    ("expected", "outputs"),
    [
        ("yolo", {"output0": (1, 84, N)}),
        ("yolo", {"output": (1, 3 * N, 85)}),
        ("yolo", {"output": (1, 3 * N, 8)}),
        ("yolo-e2e", {"output0": (1, 300, 6)}),
        ("yolox", {"output": (1, N, 85)}),
        ("rtmdet", {"output": (1, N, 84)}),
        ("rtmdet", {"dets": (1, None, 5), "labels": (1, None)}),
        ("picodet", {"output": (1, N + 100, 84)}),
        ("picodet", {"b": (1, N + 100, 4), "s": (1, 80, N + 100)}),
        ("ppyoloe", {"b": (1, N, 4), "s": (1, 80, N)}),
        ("detr", {"logits": (1, 300, 80), "pred_boxes": (1, 300, 4)}),
        ("detr", {"dets": (1, 300, 4), "class_logits": (1, 300, 91)}),
        ("nms", {"num_dets": (1, 1), "det_boxes": (1, 100, 4), "det_scores": (1, 100), "label_ids": (1, 100)}),
        ("nms", {"index": (None, 3), "boxes": (1, N, 4), "scores": (1, 80, N)}),
        ("nms", {"output": (None, 7)}),
        ("ssd", {"boxes": (None, 4), "scores": (None,), "labels": (None,)}),
        ("centernet", {"hm": (1, 80, 160, 160), "wh": (1, 2, 160, 160), "reg": (1, 2, 160, 160)}),
        ("efficientdet", {"output": (1, 5000, 6)}),
    ],
)
def test_shapes_alone_choose(expected: str, outputs: Shapes) -> None:
    choice = choose(signature(outputs, 640))
    assert choice.name == expected
    assert str(choice).startswith(f"decoder {expected}: outputs '")


def test_a_decoder_says_in_one_line_what_it_is_and_why() -> None:
    model = signature({"output0": (1, 6, N)}, 640, properties={**ULTRALYTICS, "names": NAMES})
    choice = choose(model)
    assert str(choice) == (
        "decoder yolo: metadata of ultralytics (task detect, stride 32, 2 names, imgsz 640x640), outputs 'output0' "
        "float32 [1, 6, 8400]; letterbox-center, pad 114, RGB, x 0.00392157"
    )
    assert choice.decoder.class_names == ("car", "driver's seat")


def test_the_family_that_metadata_name_decides() -> None:
    names = {"names": json.dumps({"0": "a", "1": "b"}), "nc": "2"}
    both = {"boxes": (1, N, 4), "scores": (1, N, 2)}
    for family in ("ppyoloe", "yolonas"):
        assert choose(signature(both, 640, properties={"model_family": family, **names})).name == family
    with pytest.raises(UsageError, match=r"ppyoloe and yolonas both fit .* --decoder ppyoloe or --decoder yolonas"):
        choose(signature(both, 640))
    detr = {**ULTRALYTICS, "description": "Ultralytics rtdetr-l model", "names": NAMES}
    assert choose(signature({"output0": (1, 300, 6)}, 640, properties=detr)).name == "detr"


@pytest.mark.parametrize(
    ("outputs", "first", "second"),
    [
        ({"output": (1, N, 9)}, "yolox", "rtmdet"),
        ({"boxes": (1, N, 4), "scores": (1, N, 80)}, "ppyoloe", "yolonas"),
    ],
)
def test_two_families_that_fit_are_both_named(outputs: Shapes, first: str, second: str) -> None:
    with pytest.raises(UsageError, match=rf"{first} and {second} both fit .*--decoder {first} or --decoder {second}"):
        choose(signature(outputs, 640))
    assert fit_named(second, signature(outputs, 640)).name == second


def test_without_a_family_outputs_and_families_are_named() -> None:
    with pytest.raises(UsageError, match=r"no decoder fits outputs 'logits' float32 \[1, 1000\]; known .*yolox"):
        choose(signature({"logits": (1, 1000)}, 224))


def test_a_decoder_that_does_not_fit_names_both_shapes() -> None:
    with pytest.raises(
        UsageError, match=r"'yolox' takes \[1, N, 5 \+ C\].* the model has 'output0' float32 \[1, 84, 8400\]"
    ):
        fit_named("yolox", signature({"output0": (1, 84, N)}, 640))
    with pytest.raises(UsageError, match=r"did you mean 'yolo'\?.*yolox"):
        fit_named("yolxo", signature({"output0": (1, 84, N)}, 640))


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        (
            {**ULTRALYTICS, "names": "{0: 'a', 1: 'b', 2: 'c'}"},
            "'names' names 3 classes, but output 'output0' .* has 2",
        ),
        ({"names": "{0: 'a', 1: 'b', 2: 'c'}"}, LIE),
        ({**ULTRALYTICS, "names": NAMES, "imgsz": "[320, 320]"}, "'imgsz' is 320x320, but the graph refuses it"),
        ({**ULTRALYTICS, "names": NAMES, "imgsz": "[333, 640]"}, "no multiple of metadata 'stride' 32"),
        ({**ULTRALYTICS, "names": NAMES, "imgsz": "huge"}, "'imgsz' is 'huge', which is no size"),
        ({"model_family": "yolo9", "names": NAMES, "nc": "7"}, "names 2 classes, but metadata 'nc' is 7"),
        ({"names": "{0: 'a', 2: 'b'}"}, "does not name class 1"),
        ({"names": "{0: 'a', 0: 'b'}"}, "names class 0 twice"),
        ({"names": "__import__('os').system('true')"}, "no mapping"),
        ({"names": "{0: exit()}"}, "no mapping"),
    ],
)
def test_metadata_that_lie_are_refused_by_name(properties: dict[str, str], words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        choose(signature({"output0": (1, 6, N)}, 640, properties=properties))


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({**ULTRALYTICS, "task": "pose", "names": NAMES}, "'task' is 'pose'"),
        ({"model_family": "fcos", "names": NAMES}, "'model_family' is 'fcos', which no decoder is for"),
        ({"model_family": "yolox", "names": NAMES}, r"yolox, .*no decoder fits outputs 'output0'"),
    ],
)
def test_models_that_no_decoder_is_for_are_refused(properties: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        choose(signature({"output0": (1, 6, N)}, 640, properties=properties))


def test_open_sizes_of_the_image_are_those_of_the_metadata() -> None:
    properties = {**ULTRALYTICS, "names": NAMES, "imgsz": "[320, 416]"}
    choice = choose(signature({"output0": (None, 6, None)}, None, properties=properties))
    assert choice.decoder.preprocessing is not None
    assert choice.decoder.preprocessing.size == (320, 416)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('["a", "b"]', ("a", "b")),
        ("{'0': 'a b', '1': 'c'}", ("a b", "c")),
        ('{"1": "b", "0": "\\u00e9"}', ("é", "b")),
        ("{0: 'it\\'s'}", ("it's",)),
        ("{}", ()),
    ],
)
def test_names_are_read_as_exporters_write_them(text: str, names: tuple[str, ...]) -> None:
    assert parse_names(text) == names
