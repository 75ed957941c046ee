"""Bundled recipes: they load, they mean what they meant, and each runs from training to a gated export."""

from pathlib import Path

import pytest

from lth_deploy.config import strict_yaml
from lth_deploy.config.bundled import recipe_file, recipe_names
from lth_deploy.config.recipe import load_recipe, recipe_from
from lth_deploy.config.target import GatesSpec, Target
from lth_deploy.errors import RecipeError
from lth_deploy.pruning.search.plan import control_of, level_name

NAMES = recipe_names()

# A run directory, an artifact and a published result carry their recipe's digest. A changed figure here means that
# the recipe asks for something else: results under its name can no longer be compared, so give it a new name or
# say in the change why it had to be. Comments, order and defaults that are written out do not change a digest.
DIGESTS = {
    "bccd_cells_r18": "9ddcb850714bf843e5f164393150d858371d2caf8a7a208a27e49c45078f1044",
    "bccd_dfine": "f5b0ae3cef5673ae25400e9cc4680588acfba623f2a4a98a332e52f7ac7e2967",
    "bccd_faster_rcnn_r18": "f023f72de1dadb7ae16eb27134ef1e25b4acb590f8c20a0ed1261354fe78e9a6",
    "bccd_retinanet_r18": "ffa535eb055202fca22888acd3546252fb437e36981b80e5898ae26dda1d601e",
    "bccd_retinanet_r18_int8": "a8d26cfc7f1165f2d19886ae805f36296fc2d61b99530452740a0bc315662dc6",
    "bccd_retinanet_r18_wide": "d766a6417b248c0a8b981eab3e3b9c67c0a3472770290350b455a6d916772e85",
    "bccd_rtdetrv2_r18": "9153343f338136e693e53cd75e4af120c7baa56d58c2085f43f69811e8573f2e",
    "bccd_yolox_nano": "98777fdef666b8a3f1ff6b5a4b0a685a9bcdc3f7d2a754ad8eb6fe58936afda4",
    "coco/keypoint_rcnn_r18_iterative": "2d78922677e0ea61b4704b578b8b5b77279849b0d8b2cae2c0a521c9be00db92",
    "coco/keypoint_rcnn_r18_oneshot": "0ebeaf8e9f90e25236ca21f3edbf1af6e44654b53a55505f505adafa5c15d478",
    "coco/keypoint_rcnn_r50_iterative": "c62ccce06a8f3de4a5ce51d45d130e16897ff1b636c5164e0b70ee8d17a2d289",
    "coco/keypoint_rcnn_r50_oneshot": "82866248e99f6d36631c4573a16a087479985645f282a0ee17205f8c105c120e",
    "coco/mask_rcnn_r18_iterative": "41f47d064617ac0e92998d4c9149da6b83bcc2a00f2d807efeb8ec79c0671588",
    "coco/mask_rcnn_r18_oneshot": "345ea456fb56792e5f507abe3e7312c1c44b6189a78573dfb5b1eaa7ba0b7b7d",
    "coco/mask_rcnn_r50_iterative": "2b66dd298357e72fe1133a6e6c46c37cb31e78693d6b04cb42c165e757680fed",
    "coco/mask_rcnn_r50_oneshot": "3d328eb31af4c4702cb7c94bd6bb597b8fcd0fdbe1cd202f52e2756a95f1ac2f",
    "paper/figure1_keypoint_rcnn_r18": "01059a6041565b6994641f7523d3d008ad61a2d76cb12f8882bffc0a4bfd9379",
    "paper/figure1_keypoint_rcnn_r50": "33308d3ef2fe726165344f2e04c8da8c758dec183d055f155a164518c0e5946f",
    "paper/figure1_mask_rcnn_r18": "8a7f7490055a986e0be114cc359b2eb71497695feacbf9319c7e23f246ed521c",
    "paper/figure1_mask_rcnn_r50": "48611f1ace08a8a7ece61ac4e04a7a74843f7f1b66e9dc2c6217ef87a8fe9b28",
    "paper/figure2_faster_rcnn_r18": "3dfeabb6ea7666d76b43107481c58f25f18e608a84a75a01afacafccb2b7691b",
    "paper/imagenet_r18": "73360d8f7b186489a0d8d1d01e8075a4ff3cd793019c41e9056b68e9852a4e1e",
    "paper/imagenet_r50": "c4de1cbdbce8046f1124e91b2511c4b54f44b891947518811fa7d9eba0e19fe7",
    "paper/table1_faster_rcnn_r18": "b68d1c7007ed4c8060e9f14657f872203189cbf9d666f9846ae300dd6bab479c",
    "paper/table1_keypoint_rcnn_r18": "c3408b41ae975e9ae74fc97e351ebef79e8cdad5a40cec9b8e8cc70ec0dfd1d0",
    "paper/table1_mask_rcnn_r18": "785e7ea1ffefaae9981f8f9ba358c5569585657160da2a8e709c9601ecb2753b",
    "paper/table2_faster_rcnn_r50": "7a07dd244aed7defc6f6145ea382c1973a2701cdfefccd09264e2c486ae6c4f8",
    "paper/table2_keypoint_rcnn_r50": "20eeecd1fe84307ce2b03912e04d622d4af93192dbf3f797fc4a9faecf4b3c38",
    "paper/table2_mask_rcnn_r50": "181e366e08b389528c4556be1ce9911260d948c8145bdd247718208cb1347a02",
    "paper/table3_faster_rcnn_r18": "f434587d89b9a768fea557d246f9ef8fccdd7b24e42ec4b7258a3aea6b4668c9",
    "paper/table4_keypoint_from_mask_r18": "e93e9ef699cf41df5f3fdfe62f13b4380b9bff8c646802674536f5f34c2c9065",
    "paper/table4_mask_from_keypoint_r18": "9a9ee8d8035e7230cd72ecd42c2d3997c086651adfce30d4ea1583644f2a2b25",
    "paper/table5_faster_rcnn_r50": "dd692fc0002670664685ef1fb5dee8487a21362c7c5e730a6d82beb069f24dc3",
    "paper/table5_keypoint_rcnn_r50": "69f12b958ed62b62a78ec0f33bc989f695342d938ed61259990ed1c9ad1c3e02",
    "paper/table5_mask_rcnn_r50": "150b2d7fc39fb334774525c2c61346533712d2f87ac6c2964b5fb0849f182681",
    "quickstart": "e8787ab9fed0a391f957e5e70fac0c4e31a8fbf5e1632572abb610d4e6040a47",
    "shapes_keypoint_rcnn_r18": "3534b2441aa6de3314faa145d2c91775f72ed9eed587bf076bb6ac24a7fb9467",
    "shapes_mask_rcnn_r18": "9a0fd763c5aa97b83dcf55861c909d8d5f6372636e2bb8d57ec39bc0ffed0acd",
}
TABLES = (("table1", "r18"), ("table2", "r50"), ("table5", "r50"))
PAPER = [name for name in NAMES if name.startswith("paper/")]
# Classifiers are not exported.
SEARCHED = [*PAPER, "bccd_cells_r18"]
# A smoke run has one level, and with one level the iterative form of a recipe is its oneshot form.
ITERATIVE = [name for name in NAMES if name.endswith("_iterative")]
FORMS = ("_iterative", "_oneshot")
TRAINED = [name for name in NAMES if name not in (*SEARCHED, *ITERATIVE)]


def _exported() -> set[str]:
    """One recipe of each network and structure: a smoke run exports the same graph for all others of its kind."""
    first: dict[tuple[object, ...], str] = {}
    for name in TRAINED:
        recipe = load_recipe(recipe_file(name), check_variables=False)
        kind = tuple(getattr(recipe.detector, key, None) for key in ("name", "backbone", "layout"))
        first.setdefault((*kind, recipe.pruning.structure, bool(recipe.quantization.levels)), name)
    return set(first.values())


EXPORTED = _exported()


def test_the_digests_are_those_of_the_bundled_recipes() -> None:
    assert set(NAMES) == set(DIGESTS)


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_recipe_still_means_the_same(name: str) -> None:
    # Before its paths are resolved, which differ from machine to machine.
    assert recipe_from(strict_yaml.load(recipe_file(name))).digest() == DIGESTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_recipe_is_named_as_its_file_and_begins_with_what_it_is(name: str) -> None:
    file = recipe_file(name)
    recipe = load_recipe(file, check_variables=False)
    assert recipe.name == Path(name).name
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_recipe_resolves_and_reads_back(name: str) -> None:
    recipe = load_recipe(recipe_file(name), check_variables=False)
    assert recipe_from(strict_yaml.parse(recipe.to_yaml(), "resolved.yaml")) == recipe


def test_the_issues_recipes_are_bundled() -> None:
    coco = {
        f"coco/{task}_rcnn_{depth}_{how}"
        for task in ("mask", "keypoint")
        for depth in ("r18", "r50")
        for how in ("oneshot", "iterative")
    }
    paper = {"imagenet_r18", "imagenet_r50", "table4_mask_from_keypoint_r18", "table4_keypoint_from_mask_r18"}
    paper |= {f"figure1_{task}_rcnn_{depth}" for task in ("mask", "keypoint") for depth in ("r18", "r50")}
    paper |= {f"{which}_{task}_rcnn_{depth}" for which, depth in TABLES for task in ("mask", "keypoint")}
    paper |= {"figure2_faster_rcnn_r18", "table3_faster_rcnn_r18"}
    paper |= {f"{which}_faster_rcnn_{depth}" for which, depth in TABLES}
    assert {f"paper/{name}" for name in paper} == {name for name in NAMES if name.startswith("paper/")}
    assert coco | {"quickstart", "bccd_retinanet_r18", "bccd_faster_rcnn_r18"} <= set(NAMES)


def test_names_that_are_not_there_get_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe is called 'quickstrt'; did you mean 'quickstart'"):
        recipe_file("quickstrt")
    with pytest.raises(RecipeError, match=r"no recipe file .*own\.yaml; give the path of one, or a bundled name"):
        recipe_file(str(tmp_path / "own.yaml"))


@pytest.mark.parametrize("name", ITERATIVE)
def test_an_iterative_recipe_differs_from_its_oneshot_form_in_levels_only(name: str) -> None:
    forms = [load_recipe(recipe_file(name.replace("_iterative", how)), check_variables=False) for how in FORMS]
    iterative, oneshot = (recipe.model_dump(exclude={"name": True, "pruning": {"levels"}}) for recipe in forms)
    assert iterative == oneshot
    assert forms[0].pruning.level_list()[-1] == forms[1].pruning.level_list()[-1]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the smoke of one recipe finds the source that another's has made."""
    return tmp_path_factory.mktemp("sources")


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHED)
def test_every_recipe_of_the_paper_searches_from_its_source(name: str, sources: Path, tmp_path: Path) -> None:
    """Their networks are those of recipes/coco, or of tests/workflow/test_c4.py, where export is tested."""
    pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")
    from lth_deploy.detectors.c4 import with_last_stage_at_home
    from lth_deploy.mask import load_masks, sparsity
    from lth_deploy.run.directory import RunDirectory
    from lth_deploy.workflow.search.find_ticket import find_ticket
    from lth_deploy.workflow.search.smoke import smoke_recipe

    original = load_recipe(recipe_file(name), check_variables=False)
    recipe = smoke_recipe(original, tmp_path / "initial.safetensors", sources)
    level = recipe.pruning.level_list()[-1]
    result = find_ticket(recipe, tmp_path / "run", device="cpu")
    assert result.finished
    ticket = level_name("level", level)
    masks = load_masks(RunDirectory.open(tmp_path / "run").trial(ticket).mask)
    if original.source is None or original.pruning.groups:
        assert sparsity(masks) == pytest.approx(level, abs=1e-3)
    if recipe.source is not None:
        given = load_masks(RunDirectory.open(Path(recipe.source.run)).trial(ticket).mask)
        given = with_last_stage_at_home(given, masks)
        shared = masks.keys() & given.keys()
        assert shared
        assert all((masks[layer] == given[layer]).all() for layer in shared)
        assert all(masks[layer].all() for layer in masks.keys() - shared)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_recipes_train_prune_and_rewind_and_every_network_is_exported(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")
    import onnx

    from lth_deploy.compiler.artifact.domain import DOMAIN
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.mask import load_masks, sparsity
    from lth_deploy.run.directory import RunDirectory
    from lth_deploy.workflow.export.from_run import export
    from lth_deploy.workflow.search.find_ticket import find_ticket
    from lth_deploy.workflow.search.smoke import smoke_recipe

    original = load_recipe(recipe_file(name), check_variables=False)
    if original.detector.source in ("transformers", "libreyolo"):
        pytest.importorskip(original.detector.source, reason=f"{original.detector.source} is not installed")
    recipe = smoke_recipe(original, tmp_path / "initial.safetensors")
    assert recipe.detector.name == original.detector.name
    assert recipe.pruning.restart == original.pruning.restart
    level = recipe.pruning.level_list()[-1]
    result = find_ticket(recipe, tmp_path / "run", device="cpu")
    assert result.finished
    ticket = level_name("level", level)
    trials = [trial.name for trial in result.summary.trials]
    quantized = {f"{ticket}_int8"} if original.quantization.levels else set()
    assert {"dense", control_of(recipe), ticket, level_name("random", level), *quantized} == set(trials)
    masks = load_masks(RunDirectory.open(tmp_path / "run").trial(ticket).mask)
    zero_macs = next(trial.zero_macs for trial in result.summary.trials if trial.name == ticket)
    reached = zero_macs if recipe.pruning.allocation == "macs" else sparsity(masks)
    assert reached == pytest.approx(level, abs=1e-3)
    if name not in EXPORTED:
        return
    # A smoke network finds 16 objects in all, whose masks are noise with long borders: on some processors two of them
    # round apart.
    made = export(tmp_path / "run", level=ticket, target=Target(gates=GatesSpec(matched=0.85)))
    assert made.gate.parity.passed
    onnx.checker.check_model(str(made.artifact))
    assert made.artifact.stat().st_size < made.dense.stat().st_size / 3
    assert any(node.domain == DOMAIN for node in load_model(made.artifact).graph.node)
