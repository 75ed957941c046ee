"""Configurations of detectron2 are read as values, and what cannot be converted is named."""

from pathlib import Path

import pytest

from lth_deploy.detectors.detectron2.literals import arithmetic, literal
from lth_deploy.detectors.detectron2.settings import read_settings
from lth_deploy.detectors.detectron2.yaml_file import read_values
from lth_deploy.errors import DataError
from tests.detectors.detectron2.formula import BASE, C4_BASE, CASES, RETINANET_BASE, Case, write_config


def read(folder: Path, own: str, base: str = BASE) -> str:
    """The refusal of a configuration with these lines on top."""
    with pytest.raises(DataError) as caught:
        read_settings(write_config(folder, Case(base, own)))
    return str(caught.value)


def test_a_configuration_stands_on_others_and_on_the_defaults(tmp_path: Path) -> None:
    settings = read_settings(write_config(tmp_path, CASES["keypoint_rcnn"]))
    assert (settings.family, settings.backbone, settings.fpn_width, settings.classes) == (
        "keypoint_rcnn",
        "resnet18",
        16,
        3,
    )
    assert settings.keypoint_widths == (8,) * 8  # a tuple in quotes
    assert settings.ratios == ((0.5, 1.0, 2.0),) * 5  # one list for all levels
    assert settings.image.order == "BGR"  # said by nobody
    assert settings.box_weights == (10.0, 10.0, 5.0, 5.0)


def test_the_sizes_of_retinanet_are_computed_without_running_them(tmp_path: Path) -> None:
    settings = read_settings(write_config(tmp_path, CASES["retinanet"]))
    assert settings.sizes[1] == pytest.approx((64, 80.6349, 101.5937), abs=1e-3)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "[x for x in range(9)]",
        "[[x] for x in [1] if print(x)]",
        "[y for x in [1]]",
        "9**9**9**9**9",
        "(-8.0)**0.5",
        "'text' * 1000000",
        "[lambda: 1]",
        "1 +",
        "[" * 1000 + "]" * 1000,
    ],
)
def test_an_expression_beyond_arithmetic_is_not_run(expression: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        arithmetic(expression)
    path = tmp_path / "config.yaml"
    path.write_text(f'MODEL: !!python/object/apply:eval ["{expression}"]\n')
    with pytest.raises(DataError, match="is not run; write the numbers out"):
        read_values(path)


def test_a_tag_makes_no_object(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "A: !!python/object/apply:os.system [touch made]\nB: !!python/tuple [1, 2]\nC: !!python/name:os.system ''\n"
        "D: !own {key: value}\n"
    )
    values = {key: one.value for key, one in read_values(path).items()}
    assert values == {"A": ["touch made"], "B": [1, 2], "C": "", "D.key": "value"}


def test_literals_in_quotes_are_values() -> None:
    assert literal("(60000, 80000)") == (60000, 80000)
    assert literal("coco_2017_train") == "coco_2017_train"
    assert literal("(" * 5000) == "(" * 5000


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("MODEL: {META_ARCHITECTURE: PanopticFPN}", "MODEL.META_ARCHITECTURE is 'PanopticFPN'"),
        ("MODEL: {RESNETS: {DEPTH: 152}}", "MODEL.RESNETS.DEPTH is 152; only 18 or 34 or 50 or 101"),
        ("MODEL: {RESNETS: {NORM: GN}}", "MODEL.RESNETS.NORM is 'GN'"),
        ("MODEL: {RESNETS: {NUM_GROUPS: 32}}", "MODEL.RESNETS.NUM_GROUPS is 32"),
        ("MODEL: {ROI_HEADS: {NAME: CascadeROIHeads}}", "MODEL.ROI_HEADS.NAME is 'CascadeROIHeads'"),
        ("MODEL: {ROI_BOX_HEAD: {POOLER_TYPE: ROIAlign}}", "MODEL.ROI_BOX_HEAD.POOLER_TYPE is 'ROIAlign'"),
        ("MODEL: {ROI_HEADS: {NUM_CLASES: 3}}", "MODEL.ROI_HEADS.NUM_CLASES is not a key"),
        ("MODEL: {ROI_HEADS: {NUM_CLASSES: three}}", "MODEL.ROI_HEADS.NUM_CLASSES is 'three'"),
        ("MODEL: {ROI_HEADS: {NUM_CLASSES: 0}}", "a number from 1"),
        ("MODEL: {ROI_HEADS: {NUM_CLASSES: true}}", "a value of type int"),
        ("MODEL: {PIXEL_MEAN: [1.0, 2.0]}", "a list of 3 numbers"),
        ("MODEL: {ANCHOR_GENERATOR: {SIZES: [[32], [64]]}}", "one list of positive numbers, or 5"),
        ("MODEL: {ANCHOR_GENERATOR: {ASPECT_RATIOS: [[0.5, 0]]}}", "one list of positive numbers, or 5"),
        ("MODEL: {MASK_ON: true, KEYPOINT_ON: true}", "MODEL.KEYPOINT_ON"),
        ("INPUT: {FORMAT: YUV-BT.601}", "BGR or RGB"),
    ],
)
def test_what_is_not_converted_is_named(own: str, message: str, tmp_path: Path) -> None:
    assert message in read(tmp_path, own)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("MODEL: {KEYPOINT_ON: true}", "MODEL.KEYPOINT_ON is True; only False where MODEL.ROI_HEADS.NAME"),
        ("MODEL: {RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64}}", "MODEL.RESNETS.DEPTH is 18; only 50 or 101 where"),
        ("MODEL: {RESNETS: {RES5_DILATION: 2}}", "MODEL.RESNETS.RES5_DILATION is 2"),
        ("MODEL: {BACKBONE: {NAME: build_resnet_fpn_backbone}}", "MODEL.BACKBONE.NAME is 'build_resnet_fpn_backbone'"),
        ("MODEL: {ANCHOR_GENERATOR: {SIZES: [[32], [64]]}}", "only one list of positive numbers can be"),
    ],
)
def test_what_the_last_stage_as_a_head_does_not_have_is_named(own: str, message: str, tmp_path: Path) -> None:
    assert message in read(tmp_path, own, C4_BASE)


def test_a_configuration_without_a_pyramid_has_one_level_and_the_defaults_of_detectron2(tmp_path: Path) -> None:
    settings = read_settings(write_config(tmp_path, Case(C4_BASE, "MODEL: {MASK_ON: true, BACKBONE: {FREEZE_AT: 5}}")))
    assert (settings.layout, settings.frozen_stages, settings.box_roi.cells) == ("c4", 4, 14)
    assert settings.sizes == ((32.0, 64.0, 128.0, 256.0, 512.0),)


def test_a_tower_of_another_height_is_not_converted(tmp_path: Path) -> None:
    assert "MODEL.RETINANET.NUM_CONVS is 2" in read(tmp_path, "MODEL: {RETINANET: {NUM_CONVS: 2}}", RETINANET_BASE)


def test_the_keys_of_training_mean_nothing(tmp_path: Path) -> None:
    own = "MODEL: {RPN: {BATCH_SIZE_PER_IMAGE: 64}, SEM_SEG_HEAD: {NORM: GN}}\nSOLVER: {STEPS: '(1, 2)'}\nOWN: {KEY: 1}"
    assert read_settings(write_config(tmp_path, Case(BASE, own))).family == "faster_rcnn"


@pytest.mark.parametrize("text", ["raise SystemExit(3)\n", "MODEL: {MASK_ON: true}\n"])
def test_a_lazy_config_is_not_run(text: str, tmp_path: Path) -> None:
    (tmp_path / "lazy.py").write_text(text)
    (tmp_path / "config.yaml").write_text("_BASE_: lazy.py\n")
    for name in ("lazy.py", "config.yaml"):
        with pytest.raises(DataError, match=r"lazy\.py: a LazyConfig is Python code"):
            read_settings(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_BASE_: config.yaml\n", "back to a file that stands on it"),
        ("_BASE_: gone.yaml\n", "cannot read the configuration"),
        ("_BASE_: 'https://example.com/base.yaml'\n", "is not a file"),
        ("_BASE_: [a, b]\n", "the path of one YAML file"),
        ("- 1\n", "holds no keys"),
        ("MODEL: [\n", "cannot read this YAML"),
        ("A: " + "x" * (1 << 20), "more than 1,048,576 bytes"),
    ],
)
def test_files_that_are_no_configurations(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_settings(path)
