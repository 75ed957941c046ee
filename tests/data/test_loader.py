from typing import Any

import numpy as np
import pytest
from PIL import Image

from lth_deploy.config.training_spec import AugmentSpec
from lth_deploy.data.coco.load import CocoDataset, load_coco
from lth_deploy.data.images import read_image
from lth_deploy.errors import DataError, UsageError
from tests.data.sound_coco import HEIGHT, WIDTH, CocoFolder

torch = pytest.importorskip("torch")
from lth_deploy.data.batches.loader import Batches, DetectionDataset, epoch_order  # noqa: E402
from lth_deploy.data.batches.samples import mirror_order, shrink  # noqa: E402

KINDS = ("bbox", "segm", "keypoints")
AUGMENT = AugmentSpec(vertical_flip=0.5, zoom=[0.5, 2.0], brightness=0.3, contrast=0.3)


@pytest.fixture
def dataset(coco_folder: CocoFolder) -> CocoDataset:
    return load_coco(coco_folder.annotations, coco_folder.images)


def many(coco_folder: CocoFolder, count: int) -> CocoDataset:
    """`count` images of different pixels, each with the object of the first."""
    template = coco_folder.document["annotations"][0]
    coco_folder.document["images"] = []
    coco_folder.document["annotations"] = []
    for number in range(1, count + 1):
        pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(coco_folder.images / f"{number}.png")
        coco_folder.document["images"].append(
            {"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT}
        )
        coco_folder.document["annotations"].append({**template, "id": number, "image_id": number})
    coco_folder.write()
    return load_coco(coco_folder.annotations, coco_folder.images)


def assert_same(one: Any, other: Any) -> None:
    (image, target), (image2, target2) = one, other
    assert torch.equal(image, image2)
    assert set(target) == set(target2)
    for key in target:
        assert torch.equal(target[key], target2[key]), key


def assert_same_batch(one: Any, other: Any) -> None:
    for pair in zip(zip(*one, strict=True), zip(*other, strict=True), strict=True):
        assert_same(*pair)


def test_image_and_target_have_torchvisions_form(dataset: CocoDataset) -> None:
    image, target = DetectionDataset(dataset, kinds=KINDS).item(0)
    expected = torch.from_numpy(read_image(dataset.images[0].path).copy()).permute(2, 0, 1) / 255
    assert torch.equal(image, expected)
    assert target["boxes"].tolist() == [[4, 6, 24, 16]]
    assert target["labels"].tolist() == [1]
    assert target["image_id"].tolist() == [7]
    assert target["masks"].dtype == torch.uint8
    assert target["masks"].sum() == 200
    assert target["keypoints"].tolist() == [[[14, 6, 2], [4, 11, 1], [0, 0, 0]]]


def test_crowds_are_never_trained_on(dataset: CocoDataset) -> None:
    _, target = DetectionDataset(dataset).item(1)
    assert target["labels"].tolist() == [2]


def test_an_image_without_objects_has_tensors_of_length_zero(dataset: CocoDataset) -> None:
    image, target = DetectionDataset(dataset, flip=1.0, kinds=KINDS, load_size=(20, 20)).item(2)
    height, width = image.shape[1:]
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)
    assert target["masks"].shape == (0, height, width)
    assert target["keypoints"].shape == (0, 3, 3)


@pytest.mark.parametrize("box", [[10, 10, 0.5, 8], [-5, 3, 5.2, 4], [39.9, 3, 6, 4]])
def test_boxes_under_a_pixel_inside_the_image_are_left_out(box: list[float], coco_folder: CocoFolder) -> None:
    coco_folder.document["annotations"][0]["bbox"] = box
    coco_folder.write()
    dataset = load_coco(coco_folder.annotations, coco_folder.images)
    _, target = DetectionDataset(dataset, kinds=KINDS).item(0)
    assert {key: len(target[key]) for key in ("boxes", "labels", "masks", "keypoints")} == dict.fromkeys(
        ("boxes", "labels", "masks", "keypoints"), 0
    )


def test_boxes_are_clipped_to_the_image(coco_folder: CocoFolder) -> None:
    coco_folder.document["annotations"][0]["bbox"] = [-6, 20, 20, 30]
    coco_folder.write()
    dataset = load_coco(coco_folder.annotations, coco_folder.images)
    assert DetectionDataset(dataset).item(0)[1]["boxes"].tolist() == [[0, 20, 14, HEIGHT]]


def test_flipping_mirrors_image_boxes_masks_and_keypoints(dataset: CocoDataset) -> None:
    plain, before = DetectionDataset(dataset, kinds=KINDS).item(0)
    mirrored, after = DetectionDataset(dataset, flip=1.0, kinds=KINDS).item(0)
    assert torch.equal(mirrored, plain.flip(-1))
    assert torch.equal(after["masks"], before["masks"].flip(-1))
    assert after["boxes"].tolist() == [[WIDTH - 24, 6, WIDTH - 4, 16]]
    # left_end was hidden at x 4, right_end not labeled: they change places; not labeled stays 0.
    assert after["keypoints"].tolist() == [[[WIDTH - 14, 6, 2], [0, 0, 0], [WIDTH - 4, 11, 1]]]
    assert torch.equal(after["labels"], before["labels"])


def test_a_flipped_sample_flipped_again_is_the_sample(dataset: CocoDataset) -> None:
    reader = DetectionDataset(dataset, kinds=KINDS)._reader
    sample = reader.read(dataset.images[0])
    twice = sample.flipped(reader.mirrored_keypoints).flipped(reader.mirrored_keypoints)
    assert_same((twice.image, twice.target()), (sample.image, sample.target()))


def test_left_and_right_change_places_by_name() -> None:
    names = ("nose", "left_eye", "right_eye", "RightHand", "LeftHand", "left_only")
    assert mirror_order(names) == [0, 2, 1, 4, 3, 5]


def test_nothing_is_augmented_outside_training(dataset: CocoDataset) -> None:
    one = DetectionDataset(dataset, flip=1.0, augment=AUGMENT, for_training=False)
    assert_same(one.item(0), DetectionDataset(dataset).item(0))


def test_augmentation_depends_on_seed_epoch_and_image_alone(coco_folder: CocoFolder) -> None:
    dataset = many(coco_folder, 6)
    forward, backward = (DetectionDataset(dataset, flip=0.5, augment=AUGMENT, seed=3) for _ in range(2))
    seen = {i: forward.item(i, epoch=2) for i in range(6)}
    for i in reversed(range(6)):
        backward.item(i, epoch=1)
        assert_same(backward.item(i, epoch=2), seen[i])


def test_images_and_targets_shrink_together(dataset: CocoDataset) -> None:
    image, target = DetectionDataset(dataset, kinds=KINDS, load_size=(20, 15)).item(0)
    assert image.shape == (3, 15, 20)
    assert target["boxes"].tolist() == [[2, 3, 12, 8]]
    assert target["masks"].shape == (1, 15, 20)
    assert target["masks"].sum() == 50
    assert target["keypoints"].tolist() == [[[7, 3, 2], [2, 5.5, 1], [0, 0, 0]]]


def test_a_load_size_fits_either_orientation_and_never_enlarges() -> None:
    for height, width, expected in ((480, 640, (240, 320)), (640, 480, (320, 240)), (100, 90, (100, 90))):
        image = torch.zeros((3, height, width), dtype=torch.uint8)
        assert tuple(shrink(image, (320, 240)).shape[1:]) == expected


def test_shrinking_is_what_torchvisions_transform_does(dataset: CocoDataset) -> None:
    transform = pytest.importorskip("torchvision.models.detection.transform").GeneralizedRCNNTransform
    pixels = torch.from_numpy(read_image(dataset.images[0].path).copy()).permute(2, 0, 1)
    resized = transform(15, 20, [0.0] * 3, [1.0] * 3)([pixels / 255])[0].tensors[0, :, :15, :20]
    assert (shrink(pixels, (20, 15)) / 255 - resized).abs().max() <= 0.5 / 255 + 1e-5


def test_whoever_changes_a_batch_does_not_change_the_cache(dataset: CocoDataset) -> None:
    served = DetectionDataset(dataset, kinds=KINDS)
    image, target = served.item(0)
    image.zero_()
    for value in target.values():
        value.zero_()
    assert_same(served.item(0), DetectionDataset(dataset, kinds=KINDS).item(0))


def test_each_image_is_decoded_once_while_it_fits(coco_folder: CocoFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = many(coco_folder, 4)
    one_image = 3 * HEIGHT * WIDTH
    served = DetectionDataset(dataset, cache_bytes=int(2.5 * one_image))
    reads: list[int] = []
    read = served._reader.read
    monkeypatch.setattr(served._reader, "read", lambda record: (reads.append(record.id), read(record))[1])
    for _ in range(2):
        for index in range(4):
            served.item(index)
    assert reads == [1, 2, 3, 4, 3, 4]


def test_an_epoch_is_a_permutation_of_its_own() -> None:
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_batches_cover_an_epoch_without_repeats(coco_folder: CocoFolder) -> None:
    batches = Batches(DetectionDataset(many(coco_folder, 7)), 3, seed=0)
    assert batches.batches_per_epoch == 2
    ids = [int(target["image_id"]) for step in range(2) for target in batches.batch(step)[1]]
    assert len(ids) == len(set(ids)) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_survives_restarts_and_workers(workers: int, coco_folder: CocoFolder) -> None:
    dataset = many(coco_folder, 7)
    through = Batches(DetectionDataset(dataset, flip=0.5, augment=AUGMENT, seed=1), 2, seed=5)
    served = [through.batch(step) for step in range(8)]
    again = DetectionDataset(dataset, flip=0.5, augment=AUGMENT, seed=1)
    restarted = Batches(again, 2, seed=5, workers=workers)
    for step in (5, 6, 7, 0, 3):
        assert_same_batch(restarted.batch(step), served[step])
    restarted.close()


def test_a_damaged_image_stops_a_worker_with_its_name(coco_folder: CocoFolder) -> None:
    dataset = many(coco_folder, 3)
    (coco_folder.images / "2.png").write_bytes(b"no image")
    batches = Batches(DetectionDataset(dataset), 3, seed=0, workers=1)
    with pytest.raises(DataError, match=r"2\.png"):
        batches.batch(0)
    batches.close()


def test_what_cannot_be_served_is_refused_at_once(coco_folder: CocoFolder, dataset: CocoDataset) -> None:
    with pytest.raises(UsageError, match="batch_size 4"):
        Batches(DetectionDataset(dataset), 4, seed=0)
    with pytest.raises(UsageError, match="segm"):
        DetectionDataset(dataset, kinds=("segment",))
    coco_folder.document["annotations"][1].pop("segmentation")
    coco_folder.document["annotations"][0].pop("keypoints")
    coco_folder.document["categories"][0].pop("keypoints")
    coco_folder.document["categories"][0].pop("skeleton")
    coco_folder.write()
    bare = load_coco(coco_folder.annotations, coco_folder.images)
    with pytest.raises(DataError, match="annotation 2"):
        DetectionDataset(bare, kinds=("bbox", "segm"))
    with pytest.raises(DataError, match="keypoints"):
        DetectionDataset(bare, kinds=("bbox", "keypoints"))


def test_ranks_divide_each_batch_and_go_on_in_the_middle_of_an_epoch(coco_folder: CocoFolder) -> None:
    whole = Batches(DetectionDataset(many(coco_folder, 9)), 4, seed=3)
    parts = [whole.part(rank, 2) for rank in range(2)]
    for step in (0, 1, 2, 3):
        ids = [[int(target["image_id"]) for target in one.batch(step)[1]] for one in (whole, *parts)]
        assert [len(of_rank) for of_rank in ids] == [4, 2, 2]
        assert ids[1] + ids[2] == ids[0]
    resumed = whole.part(1, 2)
    assert all(map(torch.equal, resumed.batch(3)[0], parts[1].batch(3)[0]))


def test_a_batch_that_ranks_cannot_divide_is_refused(coco_folder: CocoFolder) -> None:
    batches = Batches(DetectionDataset(many(coco_folder, 9)), 4, seed=3)
    with pytest.raises(UsageError, match="batch_size 4 cannot be divided among 3 ranks; choose a multiple of 3, "):
        batches.part(0, 3)


def test_batches_for_a_gpu_lie_in_pinned_memory(coco_folder: CocoFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[tuple[int, ...]] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: (pinned.append(tuple(tensor.shape)), tensor)[1])
    whole = Batches(DetectionDataset(many(coco_folder, 4)), 2, seed=3, pinned=True)
    images, targets = whole.part(0, 2).batch(0)
    assert tuple(images[0].shape) in pinned
    assert len(pinned) == 1 + len(targets[0])
