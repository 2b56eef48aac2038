"""What is subtracted from images before a network sees them."""

import numpy as np
import pytest
from sklearn import datasets

from nfnets_jax import config as config_lib
from nfnets_jax import data
from nfnets_jax.tasks import classification
from tests import tiny_config


def preprocess_of(monkeypatch, **dataset):
    """The preprocessing that a config leads to, and the training images of its experiment."""
    config = tiny_config.get_config().to_dict()
    config["dataset"] |= dataset
    seen = {}
    monkeypatch.setattr(classification, "create_task", lambda *args, **kwargs: seen.update(kwargs))
    experiment = classification.create(config_lib.check_config(config, 1))
    images = np.concatenate(
        [batch["image"][batch["mask"] > 0] for batch in experiment.evaluation_batches("train")])
    return seen["preprocess"], images


@pytest.mark.parametrize("split", ["train", "train_noisy"])
def test_the_mean_image_of_the_permuted_digits_is_subtracted(monkeypatch, split):
    preprocess, images = preprocess_of(
        monkeypatch, name="digits_permuted", train_split=split, normalization="pixel")
    inputs = np.asarray(preprocess(images), np.float64)[..., 0]
    order = np.random.RandomState(0).permutation(1797)[:1024]
    expected = datasets.load_digits().images[order] / 16
    np.testing.assert_allclose(inputs, expected - expected.mean(axis=0), atol=1e-7)
    assert np.abs(inputs.mean(axis=0)).max() < 1e-7
    assert np.abs(expected.mean(axis=0) - expected.mean()).max() > 0.3


def test_the_mean_image_is_that_of_the_training_split_alone(monkeypatch):
    preprocess, images = preprocess_of(
        monkeypatch, name="digits", train_split="train[:100]", normalization="pixel")
    inputs = np.asarray(preprocess(images), np.float64)[..., 0]
    pixels = 15 * datasets.load_digits().images[:1437]
    expected = (pixels - pixels[:100].mean(axis=0)) / data.info("digits").std[0]
    np.testing.assert_allclose(inputs, expected, atol=1e-6)


def test_the_means_of_the_channels_are_the_default(monkeypatch):
    preprocess, images = preprocess_of(monkeypatch, name="digits")
    inputs = np.asarray(preprocess(images), np.float64)
    assert abs(inputs.mean()) < 1e-5 and abs(inputs.std() - 1) < 1e-5
    assert np.abs(inputs.mean(axis=0)).max() > 0.5


@pytest.mark.parametrize("dataset, words", [
    ({"name": "imagenet2012"}, "normalization='pixel'.*imagenet2012 differ in size.*use channel"),
    ({"evaluation_image_size": 16}, "image_size=8 differs from evaluation_image_size=16.*channel"),
])
def test_sets_without_one_mean_image_are_refused(dataset, words):
    config = tiny_config.get_config().to_dict()
    config["dataset"] |= {"normalization": "pixel", **dataset}
    with pytest.raises(config_lib.ConfigError, match=words):
        config_lib.check_config(config, 1)
