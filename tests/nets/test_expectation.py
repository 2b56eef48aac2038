"""Predictions without a norm, and of the other ordering; those of NF and BN: test_registry.py."""

import jax
import numpy as np
import pytest

from nfnets_jax import nets
from nfnets_jax.analysis import signal_propagation


def test_without_a_norm_the_second_moment_doubles_at_each_block():
    expected = nets.expected_variance("plain_wrn_28_2")
    second_moment = np.add(expected["average_variance"], expected["average_squared_mean"])
    np.testing.assert_allclose(np.diff(np.log2(second_moment)), np.ones(12), rtol=1e-12)
    # The mean takes over: two ReLU convolutions bring the correlation nearer to 1 in each branch.
    share = np.divide(expected["average_squared_mean"], second_moment)
    assert share[0] == 0 and np.all(np.diff(share) > 0)
    kappa = lambda c: (np.sqrt(1 - c**2) + (np.pi - np.arccos(c)) * c) / np.pi  # noqa: E731
    # Block 1 is a transition: its shortcut has passed one ReLU, its branch two.
    assert share[1] == pytest.approx((kappa(0.0) + kappa(kappa(0.0))) / 2)


def test_divided_by_sqrt_2_the_second_moment_is_that_of_the_stem_at_every_block():
    expected = nets.expected_variance("sqrt2_wrn_28_2")
    plain = nets.expected_variance("plain_wrn_28_2")
    for quantity in ("average_variance", "average_squared_mean"):
        np.testing.assert_allclose(
            expected[quantity], plain[quantity] / 2.0 ** np.arange(13), rtol=1e-12)
    second_moment = np.add(expected["average_variance"], expected["average_squared_mean"])
    np.testing.assert_allclose(second_moment, 2.0, rtol=1e-12)


def test_without_weight_standardization_the_squared_mean_grows_past_1():
    expected = nets.expected_variance("nf_wrn_100_2", weight_standardization=False)
    standardized = nets.expected_variance("nf_wrn_100_2")
    assert max(expected["average_squared_mean"]) > 1.2
    assert max(standardized["average_squared_mean"]) == 0
    assert max(expected["residual_variance"][5:]) < 0.45 * 2


@pytest.mark.parametrize("name, overrides", [
    ("plain_resnet_digits", {}),
    ("sqrt2_resnet_digits", {}),
    ("nf_resnet_digits", dict(weight_standardization=False)),
    ("skipinit_resnet_digits", dict(weight_init="he")),
    ("bn_resnet_digits", dict(norm_order="act_norm")),
    ("bn_resnet_digits", dict(norm_order="act_norm", weight_init="he")),
])
def test_predictions_are_what_is_measured_in_wide_networks(name, overrides):
    # Bottlenecks at stride 1 on 24 pixels: the border costs each 3x3 about 5 %, and 64 inner
    # channels scatter by as much; 4 seeds are averaged, 20 % of the second moment allowed.
    overrides = {**overrides, "bottleneck": True, "depths": (1, 4), "widths": (256, 256),
                 "strides": (1, 1), "stem_width": 256}
    network = nets.create(name, 10, **overrides)
    measured = []
    for seed in range(4):
        key_init, key_images = jax.random.split(jax.random.key(seed))
        images = jax.random.normal(key_images, (2, 24, 24, 8))
        params, state = network.init(key_init, images, True)
        measured.append(signal_propagation.measure(
            network, signal_propagation.with_unit_skip_gain(params), state, images))
    expected = nets.expected_variance(name, **overrides)
    second_moment = np.add(expected["average_variance"], expected["average_squared_mean"])
    for quantity in ("average_variance", "residual_variance", "average_squared_mean"):
        mean = np.mean([m[quantity] for m in measured], axis=0)
        scale = second_moment[-len(mean):]
        np.testing.assert_allclose(mean / scale, expected[quantity] / scale, atol=0.2)


def test_a_max_pool_is_predicted_only_from_its_measured_output():
    plain = dict(weight_init="he")
    assert nets.expected_variance("plain_resnet50", **plain) is None
    expected = nets.expected_variance("plain_resnet50", stem_moments=(0.7, 4.2), **plain)
    second_moment = np.add(expected["average_variance"], expected["average_squared_mean"])
    # Positive values pass the first ReLU unhalved: shortcut and branch each double them.
    assert second_moment[1] / second_moment[0] == pytest.approx(4.0)
    np.testing.assert_allclose(np.diff(np.log2(second_moment[1:])), np.ones(15), rtol=1e-12)


def test_without_skips_each_block_is_its_branch():
    for name in ("bn_wrn_28_2", "plain_wrn_28_2"):
        expected = nets.expected_variance(name, use_skip=False)
        assert expected["average_variance"][1:] == expected["residual_variance"]
    # The last, a plain chain of 25 ReLU convolutions, keeps the second moment 2.
    second_moment = np.add(expected["average_variance"], expected["average_squared_mean"])
    np.testing.assert_allclose(second_moment, 2.0, rtol=1e-12)
