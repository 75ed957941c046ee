import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.config import strict_yaml  # noqa: E402
from lth_deploy.config.detector_spec import SOURCES  # noqa: E402
from lth_deploy.config.recipe import Recipe, recipe_from  # noqa: E402
from lth_deploy.detectors import build_detector  # noqa: E402
from lth_deploy.detectors.sources import FILES, source_of  # noqa: E402
from lth_deploy.errors import RecipeError  # noqa: E402

PLUGIN = """
from tests.detectors.sources.user_detectors import ssd
from lth_deploy.detectors.exportable import whole_detector
from lth_deploy.detectors.layout import Layout, set_layout

class Boxes:
    def build(self, spec, classes, keypoints, *, load_weights):
        model = ssd(classes, **spec.options)
        set_layout(model, Layout(parts=(("backbone", "backbone"),)))
        return model

    def export_form(self, model):
        return whole_detector(model)

SOURCE = Boxes()
NOTHING = 3
"""


def _recipe(detector: dict[str, Any]) -> Recipe:
    document = {
        "version": 1,
        "name": "one",
        "detector": detector,
        "data": {"format": "shapes"},
        "training": {"steps": 2},
        "pruning": {"rewind": {"step": 1}},
    }
    return recipe_from(strict_yaml.parse(strict_yaml.dump(document), "r.yaml"))


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that registers sources."""
    (tmp_path / "boxes_plugin.py").write_text(PLUGIN)
    info = tmp_path / "boxes_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: boxes-plugin\nVersion: 1.0\n")
    names = {"boxes": "boxes_plugin:SOURCE", "nothing": "boxes_plugin:NOTHING", "absent": "no_such_package:SOURCE"}
    lines = "".join(f"{name} = {value}\n" for name, value in names.items())
    (info / "entry_points.txt").write_text(f"[lth_deploy.detectors]\n{lines}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "boxes_plugin", raising=False)


def test_every_source_has_a_section_and_a_file() -> None:
    # The network of `search_ticket` comes from its caller.
    assert SOURCES.keys() - {"own_trainer"} == FILES.keys()


def test_a_source_of_another_package_is_found_by_its_entry_point(plugin: None) -> None:
    recipe = _recipe({"source": "boxes", "options": {"width": 8}})
    assert recipe.detector.name == "boxes"
    model = build_detector(recipe.detector, 3)
    assert model.get_parameter("backbone.convs.1.weight").shape == (8, 8, 3, 3)
    assert source_of(recipe.detector).export_form(model).decoder == "lth"
    # The recipe of a run is read again.
    assert recipe_from(strict_yaml.parse(recipe.to_yaml(), "again")).digest() == recipe.digest()


@pytest.mark.parametrize(
    ("source", "message"),
    [("nothing", "is a int, which lacks build or export_form"), ("absent", "cannot be imported .*no_such_package")],
)
def test_an_entry_point_that_is_no_source_is_refused(plugin: None, source: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build_detector(_recipe({"source": source}).detector, 3)


def test_keys_of_an_unknown_source_are_not_judged() -> None:
    with pytest.raises(RecipeError) as caught:
        _recipe({"source": "torchvison", "name": "fcos", "backbone": "resnet18", "min_size": "x"})
    assert str(caught.value) == (
        "r.yaml, line 3: detector.source: no source of detectors has this name; did you mean 'torchvision'? valid: "
        "detectron2, libreyolo, module, torchvision, transformers; a package adds one as an entry point of the group "
        "'lth_deploy.detectors'; found 'torchvison'"
    )


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        ({"source": "torchvison", "name": "fcos"}, "detector.source: no source of detectors has this name; did you m"),
        ({"source": "module"}, "detector.factory: this key is missing and has no default"),
        ({"source": "module", "factory": "a/b.py"}, "detector.factory: a function is named as package.module:function"),
        ({"source": "module", "factory": "a:b", "predictor": []}, "unknown key; did you mean 'predictors'?"),
        ({"source": "module", "factory": "a:b", "parts": {"neck": "n"}}, "detector.parts.neck"),
        ({"name": "fcos", "factory": "a:b"}, "detector.factory: unknown key"),
    ],
)
def test_wrong_sections_are_refused_with_the_keys_of_their_own_source(detector: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=r"r\.yaml, line ") as caught:
        _recipe(detector)
    assert message in str(caught.value)
