"""The table of data sets."""

import numpy as np
import pytest
from sklearn import datasets

from nfnets_jax import data


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="'cifar'.*nearest: cifar10, cifar100"):
        data.info("cifar")
    with pytest.raises(ValueError, match="nearest: cifar10, .*imagenet2012, imagenette, mnist"):
        data.info("zzz")


def test_digits_mean_and_std_are_those_of_the_training_images():
    pixels = 15 * datasets.load_digits().images[:1437]
    np.testing.assert_allclose(data.info("digits").mean, pixels.mean(), rtol=1e-5)
    np.testing.assert_allclose(data.info("digits").std, pixels.std(), rtol=1e-5)


def test_permuted_digits_are_divided_by_sixteen():
    rows = np.random.RandomState(0).permutation(1797)[:1024]
    pixels = 15 * datasets.load_digits().images[rows]
    info = data.info("digits_permuted")
    np.testing.assert_allclose(info.mean, pixels.mean(), rtol=1e-5)
    assert info.std == (15 * 16,)


def test_every_set_has_a_mean_and_std_for_each_channel():
    for name in data.names():
        info = data.info(name)
        assert len(info.mean) == len(info.std) == info.channels
