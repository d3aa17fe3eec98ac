"""Samples and batches: pixels as Pillow makes them, order by seed, epoch and index alone, exact evaluation."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data.dataset.combined import CombinedDataset, training_dataset
from pipeline.data.dataset.flip import swap_sides
from pipeline.data.dataset.loader import Batch, collate, evaluation_loader
from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.data.dataset.train_loader import TrainLoader
from pipeline.data.dataset.transforms import resize_mask
from pipeline.data.masks import decode_mask
from pipeline.data.prepared.manifest import load_manifest
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer
from sharedris import pixels
from sharedris.errors import InputError
from sharedris.image_input import normalize, resize_image
from sharedris.pixels import decode_image


def dataset(root: Path, split: str = "toy_unc/val", **options: object) -> ReferDataset:
    return ReferDataset(root, split, image_size=64, text_tokens=12, **options)  # type: ignore[arg-type]


def pillow_resized(image: Image.Image, size: int) -> np.ndarray:
    """Pillow's bicubic in two steps, width first: what one call does up to Pillow 12, on any version."""
    wide = image.resize((size, image.height), Image.Resampling.BICUBIC)
    return np.asarray(wide.resize((size, size), Image.Resampling.BICUBIC)).astype(int)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(480, 640, 480), (640, 427, 480), (640, 359, 480), (80, 96, 64), (50, 40, 64), (64, 64, 64), (427, 640, 160)],
)
def test_resized_pixels_are_pillows(height: int, width: int, size: int) -> None:
    random = np.random.default_rng(height)
    image = Image.fromarray(255 * random.integers(0, 2, (height, width, 3), dtype=np.uint8))  # the hardest edges
    got_CSS = resize_image(np.array(image), size)
    expected_SSC = pillow_resized(image, size)
    assert got_CSS.dtype == torch.uint8
    assert np.abs(got_CSS.permute(1, 2, 0).numpy().astype(int) - expected_SSC).max() <= 2


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(480, 640, 480), (7, 5, 64), (80, 96, 64), (1, 1, 3), (427, 640, 480), (333, 500, 480)],
)
def test_resized_masks_are_pillows(height: int, width: int, size: int) -> None:
    mask_HW = np.random.default_rng(width).integers(0, 2, (height, width), dtype=np.uint8)
    expected_SS = np.asarray(Image.fromarray(mask_HW).resize((size, size), Image.Resampling.NEAREST))
    assert (resize_mask(mask_HW, size) == expected_SS).all()


def test_real_photographs_are_within_two_levels(shared_data: Path) -> None:
    paths = sorted((shared_data / "mini-refcoco/images/mscoco/images/train2014").glob("*.jpg"))
    shapes = set()
    for path in paths:
        image_HWC = decode_image(path.read_bytes(), name=path.name)
        shapes.add(image_HWC.shape)
        expected_SSC = pillow_resized(Image.fromarray(image_HWC), 480)
        got_SSC = resize_image(image_HWC, 480).permute(1, 2, 0).numpy().astype(int)
        assert np.abs(got_SSC - expected_SSC).max() <= 2, path.name
    assert len(shapes) > 5


def test_grey_and_palette_images_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "P", "CMYK", "RGBA", "LA", "1"):
        Image.new(mode, (6, 4)).convert(mode).save(tmp_path / "x.tif")
        assert decode_image((tmp_path / "x.tif").read_bytes(), name="x").shape == (4, 6, 3)


@pytest.mark.parametrize("sampling", [0, 1, 2])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [True, False])
def test_jpegs_have_the_pixels_that_pillow_gives(mode: str, sampling: int, *, progressive: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (24, 31, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((93, 72), Image.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80, progressive=progressive, **({"subsampling": sampling} if mode != "L" else {}))
    with Image.open(file) as expected:
        assert (decode_image(file.getvalue(), name="x") == np.asarray(expected.convert("RGB"))).all()


def test_a_damaged_jpeg_is_named(shared_data: Path) -> None:
    path = next((shared_data / "mini-refcoco/images/mscoco/images/train2014").glob("*.jpg"))
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:300], content[:2]):
        with pytest.raises(InputError, match=path.name):
            decode_image(damaged, name=path.name)


def test_a_jpeg_with_too_many_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.new("RGB", (20, 10)).save(file, "JPEG")
    monkeypatch.setattr(pixels, "MAX_PIXELS", 199)
    with pytest.raises(InputError, match="20 x 10 pixels are too many"):
        decode_image(file.getvalue(), name="x")


def test_normalize_maps_to_minus_one_and_one() -> None:
    pixels = torch.tensor([0, 255, 51], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert torch.allclose(normalize(list(pixels)).flatten(), torch.tensor([-1.0, 1.0, -0.6]))


def test_sample_is_image_sentence_and_mask(toys: Path, toys_refer: Path) -> None:
    data = dataset(toys)
    sample = data[5]
    info = sample.info
    path = toys_refer / "images/train2014" / info.file_name
    plain_SSC = pillow_resized(Image.open(path).convert("RGB"), 64)
    assert np.abs(sample.image_CSS.permute(1, 2, 0).numpy().astype(int) - plain_SSC).max() <= 2
    mask_HW = decode_mask(info.mask_rle, height=info.height, width=info.width)
    assert (sample.mask_SS == resize_mask(mask_HW, 64)).all()
    assert info.area_ratio == pytest.approx(mask_HW.mean())
    assert (info.index, info.split, info.height, info.width) == (5, "toy_unc/val", 80, 96)
    assert sample.token_ids_T.tolist() == data.tokenizer.encode(info.expression)[0].tolist()


def test_batch_shapes_types_and_device(toys: Path) -> None:
    data = dataset(toys)
    batch = collate([data[0], data[1], data[2]])
    assert batch.image_BCHW.shape == (3, 3, 64, 64)
    assert batch.image_BCHW.dtype == torch.float32
    assert batch.image_BCHW.is_contiguous()
    assert -1.00001 < batch.image_BCHW.min() < 0 < batch.image_BCHW.max() < 1.00001
    assert (batch.token_ids_BT.shape, batch.token_ids_BT.dtype) == ((3, 12), torch.int64)
    assert (batch.padding_BT.shape, batch.padding_BT.dtype) == ((3, 12), torch.bool)
    assert (batch.mask_BHW.shape, batch.mask_BHW.dtype) == ((3, 64, 64), torch.uint8)
    assert set(batch.mask_BHW.unique().tolist()) == {0, 1}
    moved = batch.to("meta", non_blocking=True)
    assert isinstance(moved, Batch)
    assert moved.mask_BHW.device.type == "meta"
    assert moved.samples == batch.samples
    assert len(moved) == 3


def test_every_expression_once(toys: Path) -> None:
    data = dataset(toys)
    infos = [data.info(index) for index in range(len(data))]
    assert len({(info.ref_id, info.sent_id) for info in infos}) == len(infos)
    assert len(infos) == load_manifest(toys, "toy_unc").splits["val"].expressions
    with pytest.raises(IndexError):
        data[len(data)]


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_evaluation_is_exact(world_size: int, toys: Path) -> None:
    data = dataset(toys)
    seen: list[int] = []
    for rank in range(world_size):
        loader = evaluation_loader(data, batch_size=4, rank=rank, world_size=world_size)
        indices = [info.index for batch in loader for info in batch.samples]
        assert indices == list(range(rank, len(data), world_size))
        assert len(loader) == -(-len(indices) // 4)
        seen += indices
    assert sorted(seen) == list(range(len(data)))


def epoch_of(root: Path, *, workers: int, epoch: int, rank: int = 0, world_size: int = 1) -> list[Batch]:
    data = training_dataset(
        root, ("toy_unc", "toyplus_unc"), image_size=32, text_tokens=12, horizontal_flip=True, seed=7
    )
    return list(TrainLoader(data, batch_size=8, rank=rank, world_size=world_size, seed=7, workers=workers).epoch(epoch))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_order_and_flips_depend_on_seed_epoch_and_index_alone(toys: Path) -> None:
    torch.manual_seed(1)
    alone = epoch_of(toys, workers=0, epoch=2)
    torch.manual_seed(99)
    helped = epoch_of(toys, workers=2, epoch=2)
    assert len(alone) == len(helped) > 5
    for a, b in zip(alone, helped, strict=True):
        assert a.samples == b.samples
        assert torch.equal(a.image_BCHW, b.image_BCHW)
        assert torch.equal(a.token_ids_BT, b.token_ids_BT)
        assert torch.equal(a.mask_BHW, b.mask_BHW)
    other = epoch_of(toys, workers=0, epoch=3)
    assert [info for batch in other for info in batch.samples] != [info for batch in alone for info in batch.samples]


def test_loading_leaves_the_models_random_numbers_alone(toys: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    epoch_of(toys, workers=0, epoch=0)
    assert torch.equal(torch.rand(3), expected)


def test_ranks_share_an_epoch_without_overlap(toys: Path) -> None:
    names = [
        {
            (info.split, info.index)
            for batch in epoch_of(toys, workers=0, epoch=0, rank=rank, world_size=2)
            for info in batch.samples
        }
        for rank in range(2)
    ]
    assert not names[0] & names[1]
    assert len(names[0]) == len(names[1])


def test_flip_mirrors_image_mask_and_sentence(toys: Path) -> None:
    plain, flipping = dataset(toys), dataset(toys, horizontal_flip=True, seed=1)
    flipped = [index for index in range(len(plain)) if flipping[index].flipped]
    assert 0.25 < len(flipped) / len(plain) < 0.75
    for index in range(len(plain)):
        a, b = plain[index], flipping[index]
        assert a.info == b.info
        if not b.flipped:
            assert torch.equal(a.image_CSS, b.image_CSS)
            continue
        assert torch.equal(a.image_CSS.flip(2), b.image_CSS)
        assert (a.mask_SS[:, ::-1] == b.mask_SS).all()
        sentence = swap_sides(a.info.expression)
        assert b.token_ids_T.tolist() == plain.tokenizer.encode(sentence)[0].tolist()
    flipping.set_epoch(1)
    assert flipped != [index for index in range(len(plain)) if flipping[index].flipped]


def test_cached_images_are_the_same_and_pickling_leaves_them_behind(toys: Path) -> None:
    data = dataset(toys)
    first, again = data[0], data[0]
    assert torch.equal(first.image_CSS, again.image_CSS)
    content = pickle.dumps(data)
    data.images._cache.clear()
    assert len(content) == len(pickle.dumps(data))
    assert torch.equal(pickle.loads(content)[0].image_CSS, first.image_CSS)


def test_combined_training_leaves_out_what_any_set_holds_out(toys: Path) -> None:
    sets = ("toy_unc", "toyplus_unc", "toyg_umd")
    data = training_dataset(toys, sets, image_size=32, text_tokens=12)
    held_out = {
        info.image_id
        for name in sets
        for part in load_manifest(toys, name).splits
        if part != "train"
        for held in [dataset(toys, f"{name}/{part}")]
        for info in map(held.info, range(len(held)))
    }
    trained = [part.info(index) for part in data.parts for index in range(len(part))]
    assert trained
    assert not {info.image_id for info in trained} & held_out
    assert {entry.set: entry.expressions > 0 for entry in data.removed} == dict.fromkeys(sets, True)
    whole = sum(load_manifest(toys, name).splits["train"].expressions for name in sets)
    assert len(data) == len(trained) == whole - sum(entry.expressions for entry in data.removed)


def test_one_set_alone_is_taken_as_published(toys: Path) -> None:
    data = training_dataset(toys, ("toyg_umd",), image_size=32, text_tokens=12)
    assert isinstance(data, CombinedDataset)
    assert len(data) == load_manifest(toys, "toyg_umd").splits["train"].expressions
    assert data.removed == ()


def test_real_sets_combined(shared_data: Path, tmp_path: Path) -> None:
    """Image 402632 trains RefCOCOg and tests RefCOCO: it goes, and its ref and sentence are counted."""
    root = shared_data / "mini-refcoco"
    umd = prepare_source(read_refer(root, "refcocog_umd"), tmp_path).manifest
    source = read_refer(root, "refcoco_unc")
    for position, ref in enumerate(source.refs):
        if ref.split == "val" and ref.image.image_id != 402632:
            object.__setattr__(source.refs[position], "split", "train")  # the mini set has no train split of its own
    prepare_source(source, tmp_path, tokenizer=umd.tokenizer_path)
    data = training_dataset(tmp_path, ("refcocog_umd", "refcoco_unc"), image_size=32, text_tokens=20)
    removed = {entry.set: entry for entry in data.removed}
    assert (removed["refcocog_umd"].images, removed["refcocog_umd"].refs) == (1, 1)
    assert removed["refcoco_unc"].images == 1  # 370162 is in RefCOCOg's test
    assert 402632 not in {part.info(i).image_id for part in data.parts for i in range(len(part))}


@pytest.mark.parametrize(("sets", "expected"), [((), "none"), (("toy_unc", "toy_unc"), "Name each set once")])
def test_bad_combinations(sets: tuple[str, ...], expected: str, toys: Path) -> None:
    with pytest.raises(InputError, match=expected):
        training_dataset(toys, sets, image_size=32, text_tokens=12)


def test_different_tokenizers_are_refused_with_the_remedy(toys_refer: Path, tmp_path: Path) -> None:
    for name in ("toy_unc", "toyplus_unc"):
        prepare_source(read_refer(toys_refer, name), tmp_path)
    with pytest.raises(InputError, match="different tokenizers") as caught:
        training_dataset(tmp_path, ("toy_unc", "toyplus_unc"), image_size=32, text_tokens=12)
    assert "--tokenizer" in caught.value.remedy


def test_too_few_samples_for_a_step(toys: Path) -> None:
    with pytest.raises(InputError, match="one step takes 4000"):
        TrainLoader(dataset(toys), batch_size=2000, world_size=2)


@pytest.mark.parametrize(
    ("sentence", "mirrored"),
    [
        ("left man", "right man"),
        ("Left Man on the RIGHT", "Right Man on the LEFT"),
        ("the leftmost one", "the rightmost one"),
        ("right-most cup, left.", "left-most cup, right."),
        ("man's left hand", "man's right hand"),
        ("left of the right dog", "right of the left dog"),
        ("left-hand side", "right-hand side"),
        ("bright light", "bright light"),
        ("upright copyright cleft", "upright copyright cleft"),
        ("left-handed batter", "left-handed batter"),
        ("eating right now", "eating right now"),
        ("right next to the left cat", "right next to the right cat"),
        ("right behind him", "right behind him"),
        ("right in front of the bus", "right in front of the bus"),
        ("leftover pizza", "leftover pizza"),
        ("the only slice left over", "the only slice left over"),
        ("playwright", "playwright"),
        ("far right", "far left"),
        ("right", "left"),
        ("", ""),
    ],
)
def test_swap_sides(sentence: str, mirrored: str) -> None:
    assert swap_sides(sentence) == mirrored
    if sentence.lower().count("right") + sentence.lower().count("left") == 1:
        assert swap_sides(swap_sides(sentence)) == sentence


@pytest.mark.parametrize("text_tokens", [4, 7, 12, 40])
def test_sentences_that_do_not_fit_are_counted(toys: Path, text_tokens: int) -> None:
    data = ReferDataset(toys, "toyg_umd/val", image_size=32, text_tokens=text_tokens)
    sentences = [data.info(index).expression for index in range(len(data))]
    longer = sum(len(data.tokenizer.pieces(sentence)) > text_tokens - 2 for sentence in sentences)
    assert data.cut_sentences() == longer
    assert (longer == 0) == (text_tokens == 40)
