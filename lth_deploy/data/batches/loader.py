"""Images and targets for training: random access by step, decoded once, the same after any restart."""

import logging
import threading
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from lth_deploy.config.training_spec import AugmentSpec
from lth_deploy.data.batches import augment as augmentation
from lth_deploy.data.batches.image_rng import Draws, hashed
from lth_deploy.data.batches.samples import Sample, SampleReader
from lth_deploy.data.records import CocoDataset
from lth_deploy.errors import UsageError

Target = dict[str, torch.Tensor]
Batch = tuple[list[torch.Tensor], list[Target]]

NO_AUGMENTATION = AugmentSpec()
CACHE_BYTES = 2 * 1024**3
WHOLE = slice(None)

log = logging.getLogger(__name__)


class DetectionDataset:
    """The images of a data set with targets in torchvision's form.

    An image is float32 [3, H, W] in 0..1; a target has boxes float32 [N, 4] (x1, y1, x2, y2), labels int64
    [N] in 1..C, image_id int64 [1], and where asked for masks uint8 [N, H, W] and keypoints float32
    [N, K, 3]. Crowd regions and boxes under one pixel are left out; an image without objects has
    tensors with N = 0.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        *,
        flip: float = 0.0,
        augment: AugmentSpec = NO_AUGMENTATION,
        seed: int = 0,
        for_training: bool = True,
        load_size: tuple[int, int] | None = None,
        kinds: Collection[str] = ("bbox",),
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Prepare; nothing is decoded yet.

        `load_size` is the longest and the shortest side that images are shrunk to when decoded. `kinds`
        names the targets: 'bbox', 'segm', 'keypoints'. Without `for_training` nothing is ever
        flipped or augmented. `cache_bytes` of decoded images are kept.

        Raises:
            DataError: `kinds` asks for masks or keypoints that the data set lacks.
            UsageError: a kind of another name.
        """
        self.dataset = dataset
        self.flip = flip if for_training else 0.0
        self.augment = augment if for_training else NO_AUGMENTATION
        self.seed = seed
        self._reader = SampleReader(dataset, frozenset(kinds), load_size)
        self._cache: dict[int, Sample] = {}
        self._cached_bytes = 0
        self._cache_bytes = cache_bytes
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.dataset.images)

    def item(self, index: int, epoch: int = 0) -> tuple[torch.Tensor, Target]:
        """Image and target at `index`, augmented for `epoch`: a function of seed, epoch and image id only."""
        draws = Draws(self.seed, epoch, self.dataset.images[index].id)
        mirrored = self._reader.mirrored_keypoints
        sample = augmentation.moved(self._sample(index), self.flip, self.augment, draws, mirrored)
        return augmentation.lit(sample.image.float() / 255.0, self.augment, draws), sample.target()

    def _sample(self, index: int) -> Sample:
        sample = self._cache.get(index)
        if sample is not None:
            return sample
        sample = self._reader.read(self.dataset.images[index])
        with self._lock:
            if index not in self._cache and self._cached_bytes + sample.nbytes <= self._cache_bytes:
                self._cache[index] = sample
                self._cached_bytes += sample.nbytes
        return sample


class Batches:
    """Batches by global step, so that a resumed training needs no sampler state.

    Step s lies in epoch s // batches_per_epoch; the images that do not fill a last batch are dropped.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        batch_size: int,
        seed: int,
        workers: int = 0,
        part: slice = WHOLE,
        *,
        pinned: bool = False,
    ) -> None:
        """`workers` threads prepare the batches after the one asked for; `part` of each batch is given.

        pinned: in memory that a GPU copies from while it computes.

        Raises:
            UsageError: the data set has fewer images than a batch.
        """
        self.batches_per_epoch = batches_in_epoch(len(dataset), batch_size)
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self._order: tuple[int, list[int]] = (-1, [])
        self._part, self._pinned = part, pinned
        self._ahead = workers
        self._pool = ThreadPoolExecutor(workers, "batches") if workers else None
        self._pending: dict[int, Future[Batch]] = {}

    def batch(self, step: int) -> Batch:
        """Images and targets of a global step."""
        if self._pool is None:
            return self._build(self._indices(step), step // self.batches_per_epoch)
        for stale in [s for s in self._pending if not step <= s <= step + self._ahead]:
            self._pending.pop(stale).cancel()
        for s in range(step, step + self._ahead + 1):
            if s not in self._pending:
                epoch = s // self.batches_per_epoch
                self._pending[s] = self._pool.submit(self._build, self._indices(s), epoch)
        return self._pending.pop(step).result()

    def part(self, rank: int, ranks: int) -> "Batches":
        """The same batches, but of each only the share of `rank` (from 0) of so many `ranks`.

        Raises:
            UsageError: a batch cannot be divided among so many.
        """
        share, rest = divmod(self.batch_size, ranks)
        if rest:
            raise UsageError(
                f"training.batch_size {self.batch_size} cannot be divided among {ranks} ranks; choose a multiple of "
                f"{ranks}, for instance {max(share, 1) * ranks}"
            )
        own = slice(rank * share, (rank + 1) * share)
        return Batches(self.dataset, self.batch_size, self.seed, self._ahead, own, pinned=self._pinned)

    def close(self) -> None:
        """Stop the worker threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _indices(self, step: int) -> list[int]:
        epoch, position = divmod(step, self.batches_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, epoch_order(len(self.dataset), self.seed, epoch))
        return self._order[1][position * self.batch_size :][: self.batch_size][self._part]

    def _build(self, indices: list[int], epoch: int) -> Batch:
        pairs = [self.dataset.item(index, epoch) for index in indices]
        if self._pinned:
            pairs = [(image.pin_memory(), {k: v.pin_memory() for k, v in t.items()}) for image, t in pairs]
        return [image for image, _ in pairs], [target for _, target in pairs]


def batches_in_epoch(images: int, batch_size: int) -> int:
    """How many whole batches so many images make.

    Raises:
        UsageError: not even one.
    """
    if batch_size < 1 or images < batch_size:
        raise UsageError(f"batch_size {batch_size} cannot be filled from {images} images; choose a smaller one")
    return images // batch_size


def epoch_order(n: int, seed: int, epoch: int) -> list[int]:
    """A permutation of 0..n-1 that depends on nothing but the arguments."""
    generator = torch.Generator().manual_seed(hashed(f"order/{seed}/{epoch}") >> 1)
    order: list[int] = torch.randperm(n, generator=generator).tolist()
    return order
