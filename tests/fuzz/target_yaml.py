"""Recipes, export targets and sweeps: damaged as text or as trees, up to the point where work would start."""

from pathlib import Path
from random import Random
from typing import Any

import yaml

from tests.fuzz.case import Case
from tests.fuzz.mutate_bytes import damaged_text
from tests.fuzz.mutate_tree import damaged_tree, with_literals

NAME = "yaml"
_PROJECT = Path(__file__).parents[2]
_ODD = (
    "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b, *b, *b, *b]\n",
    "loop: &loop [*loop]\n",
    "run: !!python/object/apply:os.system ['true']\n",
    "when: 2026-01-01 00:00:00\n",
    "? [a, b]\n: c\n",
    "? {a: b}\n: c\n",
    "<<: {version: 1}\n",
    "version: 1\nversion: 2\n",
    "--- \na: 1\n--- \nb: 2\n",
    "big: 0x" + "f" * 5000 + "\n",
    "sixty: 190:20:30\n",
    "binary: !!binary aGVsbG8=\n",
    "set: !!set {a, b}\n",
    "deep: " + "[" * 2000 + "]" * 2000 + "\n",
    "variable: ${HOME}/${NO_SUCH_VARIABLE}\n",
    "%YAML 9.9\n---\na: 1\n",
    "tab:\t1\n",
    "null: null\ntrue: true\n1: 1\n",
)


def prepare(folder: Path) -> None:
    """The bundled files as they are, and data that no search can be made of."""
    from tests.tiny_artifact import save_data, save_tiny

    for kind, files in (
        ("recipe", (_PROJECT / "recipes").glob("*.yaml")),
        ("sweep", (_PROJECT / "recipes" / "sweeps").glob("*.yaml")),
        ("target", (_PROJECT / "export").glob("*.yaml")),
    ):
        for file in sorted(files):
            (folder / f"{kind}-{file.name}").write_bytes(file.read_bytes())
    save_data(folder / "data", images=1)
    save_tiny(folder / "tiny.onnx", zeros=0.8)


def _with_missing_data(recipe: Any) -> Any:
    """A search ends where its data are looked for, behind all checks of the recipe."""
    if isinstance(recipe, dict):
        recipe["data"] = {
            "format": "coco",
            **{split: {"annotations": "absent.json", "images": "absent"} for split in ("train", "val", "test")},
        }
    return recipe


def _damaged(text: str, missing_data: bool, random: Random) -> bytes:
    kind = random.random()
    if kind < 0.1:
        odd = random.choice(_ODD)
        return (text + odd if random.random() < 0.7 else odd).encode()
    tree = yaml.safe_load(text)
    if missing_data:
        tree = _with_missing_data(tree)
    if kind < 0.5:
        return damaged_text(yaml.safe_dump(tree, sort_keys=False), random)
    changed = yaml.safe_dump(damaged_tree(tree, random), sort_keys=False, allow_unicode=random.random() < 0.5)
    return with_literals(changed.replace("'literal", '"literal')).encode("utf-8", "surrogatepass")


def draw(seeds: Path, random: Random) -> Case:
    kind = random.choice(("recipe", "recipe", "sweep", "target"))
    file = random.choice(sorted(seeds.glob(f"{kind}-*.yaml")))
    search = kind == "recipe" and random.random() < 0.7
    name = f"{kind}.yaml"
    given: dict[str, str] = {}
    codes = {0, 2, 3}
    if search:
        arguments = ["find-ticket", name, "--out", "run", "--device", "cpu", "--max-time", "0s"]
    elif kind == "recipe":
        arguments = ["recipe", "show", name, "--resolved"]
    elif kind == "sweep":
        # A name that no row has: everything is resolved, nothing is started.
        arguments = ["sweep", name, "--out", "swept", "--rows", "no row has this name"]
    else:
        given["model.onnx"] = "tiny.onnx"
        arguments = ["--quiet", "export", "--onnx", "model.onnx", "--target", name, "--out", "out", "--no-profile"]
        codes |= {4, 5}
    content = _damaged(file.read_text(), search, random)
    return Case(NAME, tuple(arguments), {name: content}, given, frozenset(codes))
