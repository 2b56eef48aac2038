"""Sets in the format of the real ones, and what is said when they cannot be read."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nfnets_jax import data
from nfnets_jax.data import images, writing

from .pictures import encode


def _evaluate(name, split, image_size, root, batch_size=64):
    batches = list(
        data.eval_batches(
            name, split=split, image_size=image_size, batch_size=batch_size, data_dir=root
        )
    )
    real = np.concatenate([batch["mask"] for batch in batches]) == 1
    return tuple(
        np.concatenate([batch[key] for batch in batches])[real] for key in ("image", "label")
    )


@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar_format_is_read_exactly(cifar, split):
    root, content = cifar
    image, label = _evaluate("cifar10", split, 32, root)
    np.testing.assert_array_equal(image, content[split][0])
    np.testing.assert_array_equal(label, content[split][1])


def test_mnist_and_cifar100_formats_are_read_exactly(tmp_path):
    rng = np.random.default_rng(0)
    for name, shape, label in (("mnist", (28, 28, 1), 9), ("cifar100", (32, 32, 3), 99)):
        pixels = rng.integers(0, 256, (3, *shape), dtype=np.uint8)
        examples = [(encode(image, "PNG"), label) for image in pixels]
        writing.write_dataset(name, tmp_path, {"test": examples})
        image, labels = _evaluate(name, "test", shape[0], tmp_path)
        np.testing.assert_array_equal(image, pixels)
        np.testing.assert_array_equal(labels, [label] * 3)


def test_imagenet_format_is_read_and_cropped(imagenet):
    root, validation = imagenet
    image, label = _evaluate("imagenet2012", "test", 32, root, batch_size=2)
    np.testing.assert_array_equal(label, [990, 991, 992, 993, 994])
    for row, (encoded, _) in zip(image, validation, strict=True):
        full = Image.open(io.BytesIO(encoded)).convert("RGB")
        top, left, side, _ = images.center_crop(full.height, full.width, 32)
        expected = full.resize(
            (32, 32), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
        )
        assert np.abs(row.astype(int) - np.asarray(expected)).max() <= 3


def test_imagenet_splits_are_those_of_the_papers(imagenet):
    """valid = the first 10,000 images of TFDS's train, train = the rest, test = validation."""
    root, _ = imagenet
    counts = {
        split: data.num_examples("imagenet2012", split=split, data_dir=root)
        for split in data.info("imagenet2012").splits
    }
    assert counts == {"train": 20, "valid": 10_000, "train_and_valid": 10_020, "test": 5}
    batches = data.train_batches(
        "imagenet2012", split="train", image_size=8, batch_size=20, seed=0, data_dir=root
    )
    assert sorted(next(batches)["label"]) == list(range(2, 22))
    _, label = _evaluate("imagenet2012", "valid", 8, root, batch_size=5_000)
    assert label.sum() == 1 and label[-1] == 1


def test_the_mean_image_is_that_of_its_split(cifar, imagenet):
    root, content = cifar
    for split, pixels in (("test", content["test"][0]), ("train[:30]", content["train"][0][:30])):
        mean = data.mean_image("cifar10", split=split, image_size=32, data_dir=root)
        np.testing.assert_allclose(mean, pixels.astype(float).mean(axis=0), rtol=1e-6)
    with pytest.raises(ValueError, match="'imagenet2012' differ in size.*means of the channels"):
        data.mean_image("imagenet2012", split="test", image_size=32, data_dir=imagenet[0])


def test_tfds_split_expressions(cifar):
    root, content = cifar
    for split, expected in (
        ("train[:30]", content["train"][0][:30]),
        ("train[30:]", content["train"][0][30:]),
        ("test[:3]+train[-2:]", np.concatenate([content["test"][0][:3], content["train"][0][-2:]])),
    ):
        np.testing.assert_array_equal(_evaluate("cifar10", split, 32, root)[0], expected)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("valid", r"unknown split 'valid' of 'cifar10'; use one of \['train', 'test'\], or a TFDS"),
        ("trian[:10]", "trian"),
        ("train[60:]", r"which holds \{'train': 45, 'test': 7\}"),
        ("train[5:5]", "holds no examples"),
        ("train[abc:]", r"'train\[abc:\]'"),
        ("train[:3", r"'train\[:3'"),
    ],
)
def test_wrong_splits_are_refused(cifar, split, message):
    root, _ = cifar
    with pytest.raises(ValueError, match=message):
        data.num_examples("cifar10", split=split, data_dir=root)


def test_a_small_imagenet_without_the_first_10000_says_so(tmp_path):
    writing.write_dataset(
        "imagenet2012", tmp_path, {"train": [(encode(np.zeros((8, 8, 3), np.uint8), "JPEG"), 0)]}
    )
    with pytest.raises(ValueError, match=r"'train' of 'imagenet2012' \(TFDS 'train\[10000:\]'\)"):
        data.num_examples("imagenet2012", split="train", data_dir=tmp_path)
    assert data.num_examples("imagenet2012", split="train[:1]", data_dir=tmp_path) == 1


def test_a_missing_set_is_answered_with_the_command_that_gets_it(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        data.num_examples("cifar10", split="train", data_dir=tmp_path)
    command = f"tfds build cifar10 --file_format=array_record --data_dir={tmp_path}"
    assert command in str(error.value)
    with pytest.raises(FileNotFoundError) as error:
        data.num_examples("imagenet2012", split="train", data_dir=tmp_path)
    assert "ILSVRC2012_img_train.tar" in str(error.value)
    assert str(tmp_path / "downloads" / "manual") in str(error.value)


def test_the_default_data_dir_is_tfds(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        data.num_examples("mnist", split="train")


def _declare_formats(path, **formats):
    description = json.loads((path / "dataset_info.json").read_text())
    assert description["fileFormat"] == "array_record"
    (path / "dataset_info.json").write_text(json.dumps({**description, **formats}))


def test_a_set_in_tfrecord_format_is_answered_with_the_conversion(tmp_path):
    examples = [(encode(np.full((28, 28), 7, np.uint8), "PNG"), 3)]
    writing.write_dataset("mnist", tmp_path, {"test": examples})
    path = tmp_path / "mnist" / "3.0.1"
    _declare_formats(path, fileFormat="tfrecord")
    with pytest.raises(ValueError, match="'tfrecord'") as error:
        data.num_examples("mnist", split="test", data_dir=tmp_path)
    command = f"tfds convert_format --dataset_version_dir={path} --out_file_format=array_record"
    assert command in str(error.value)


def test_a_converted_set_is_read(tmp_path):
    """As that command leaves it: both formats in one folder, array_record as the alternative."""
    examples = [(encode(np.full((28, 28), 7, np.uint8), "PNG"), 3)]
    writing.write_dataset("mnist", tmp_path, {"test": examples})
    path = tmp_path / "mnist" / "3.0.1"
    _declare_formats(path, fileFormat="tfrecord", alternativeFileFormats=["array_record"])
    (path / "mnist-test.tfrecord-00000-of-00001").touch()
    image, label = _evaluate("mnist", "test", 28, tmp_path)
    assert (image == 7).all() and label == [3]


def test_a_broken_file_is_named(tmp_path):
    good = encode(np.zeros((8, 8, 3), np.uint8), "JPEG")
    examples = [(good, 0), (good, 1), (b"\xff\xd8broken", 2)]
    writing.write_dataset("imagenet2012", tmp_path, {"validation": examples})
    with pytest.raises(ValueError) as error:
        _evaluate("imagenet2012", "test", 8, tmp_path, batch_size=3)
    assert "while decoding example 2 of 'imagenet2012' (validation)" in error.value.__notes__


def test_writing_refuses_what_the_real_set_could_not_hold(tmp_path, cifar):
    with pytest.raises(ValueError, match="label=10 of example 0 of split 'test'"):
        writing.write_dataset("mnist", tmp_path, {"test": [(b"", 10)]})
    with pytest.raises(ValueError, match="is there already"):
        writing.write_dataset("cifar10", cifar[0], {"test": []})


def test_tensorflow_is_never_imported(imagenet, data_dir):
    program = f"""
import sys
from nfnets_jax import data
next(data.train_batches('imagenet2012', split='train', image_size=8, batch_size=4, seed=0,
                        data_dir={str(imagenet[0])!r}, random_resized_crop=True))
list(data.eval_batches('digits', split='test', image_size=8, batch_size=360,
                       data_dir={str(data_dir)!r}))
assert not [name for name in sys.modules if name.split('.')[0] == 'tensorflow']
"""
    subprocess.run([sys.executable, "-c", program], check=True)
