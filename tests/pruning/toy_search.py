"""A ticket search over a network of a few hundred weights: every law of the search in milliseconds."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.config import strict_yaml  # noqa: E402
from lth_deploy.config.recipe import Recipe, recipe_from  # noqa: E402
from lth_deploy.pruning.ranking.signals import loss_gradient, synaptic_flow  # noqa: E402
from lth_deploy.pruning.search.search import Search  # noqa: E402
from lth_deploy.run.directory import RunDirectory  # noqa: E402

TOTAL, REWIND = 8, 3


class ToyDetector(torch.nn.Module):
    """Two convolutions, batch norm, a transposed convolution and a fully connected layer, with torchvision's calls."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(6)
        self.up = torch.nn.ConvTranspose2d(6, 5, 2, stride=2)
        self.fc = torch.nn.Linear(5, 3)

    def forward(self, images: list[Any], targets: list[dict[str, Any]] | None = None) -> Any:
        features = self.up(torch.relu(self.norm(self.stem(torch.stack(images)))))
        answer = self.fc(features.mean((2, 3)))
        if targets is None:
            return answer
        noise = torch.rand_like(answer)  # drawn as samplers draw: from torch's global generator
        wanted = torch.stack([target["answer"] for target in targets])
        return {"fit": ((answer - wanted) ** 2).mean(), "noise": (answer * noise).mean() * 0.1}


class ToyBatches:
    """Batches by step, as `Batches` gives them."""

    def batch(self, step: int) -> Any:
        generator = torch.Generator().manual_seed(step)
        images = [torch.rand(3, 6, 6, generator=generator) for _ in range(2)]
        return images, [{"answer": torch.rand(3, generator=generator)} for _ in images]

    def part(self, rank: int, ranks: int) -> "ToyBatches":
        """No test divides them."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to close."""


def build(seed: int, pretrained: bool = False) -> Any:
    """A fresh network; `pretrained` shifts the weights, so that it shows where it was heeded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ToyDetector()
    if pretrained:
        with torch.no_grad():
            model.stem.weight += 0.25
    return model


def toy_recipe(**sections: Any) -> Recipe:
    """A recipe of `TOTAL` steps that rewinds to `REWIND`; `sections` update its parts."""
    document: dict[str, Any] = {
        "version": 1,
        "name": "toy",
        "detector": {"name": "retinanet", "backbone": "resnet18"},
        "data": {"format": "shapes"},
        "training": {
            "steps": TOTAL,
            "batch_size": 2,
            "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01},
            "schedule": {"name": "cosine"},
            "checkpoint_seconds": 1000.0,
        },
        "pruning": {"levels": [0.5, 0.8], "rewind": {"step": REWIND}},
    }
    for name, section in sections.items():
        document[name] = {**document.get(name, {}), **section}
    return recipe_from(strict_yaml.parse(strict_yaml.dump(document), "toy"))


def measure(signal: str, model: Any) -> Any:
    """Gradients of two batches; the flow into the answer."""
    names = ["stem.weight", "up.weight", "fc.weight"]
    if signal == "flow":
        return synaptic_flow(model, names, lambda twin, ones: [twin(list(ones))], side=6)
    return loss_gradient(model, names, map(ToyBatches().batch, range(2)), torch.device("cpu"), seed=0)


def toy_search(path: Path, recipe: Recipe | None = None, **changes: Any) -> Search:
    """A search in the run directory `path`, made new or opened again; its score is a function of the weights."""
    recipe = recipe or toy_recipe()
    run = RunDirectory.open(path) if (path / "manifest.json").exists() else RunDirectory.create(path, recipe)
    settings: dict[str, Any] = {
        "device": torch.device("cpu"),
        "batches": ToyBatches(),
        "total_steps": TOTAL,
        "rewind_step": REWIND,
        "build": build,
        "score": lambda model: {"val": {"bbox": {"AP": model.fc.weight.sum().item()}}},
        "quantization_steps": recipe.quantization.steps or 1,
        "measure": measure,
        "positions": lambda model: {"stem.weight": 36.0, "up.weight": 36.0, "fc.weight": 1.0},
        **changes,
    }
    return Search(run=run, recipe=recipe, **settings)
