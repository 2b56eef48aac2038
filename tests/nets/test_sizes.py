"""Parameters and multiply-adds of every network against the published table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.nfnets.sizes import PUBLISHED, count
from nfnets_jax import nets
from nfnets_jax.analysis import cost


def decimals(value):
    return len(f"{value:g}".partition(".")[2])


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_those_published(name):
    published = PUBLISHED[name]
    parameters, multiply_adds = count(name)
    if isinstance(published.parameters, int):
        assert parameters == published.parameters
    else:
        assert abs(parameters / 1e6 - published.parameters) <= 0.005 * (
            10 if decimals(published.parameters) == 1 else 1)
    if published.multiply_adds is None:
        return
    ours = multiply_adds / 1e9
    if published.difference:
        # Differs by what the row explains: up to 5 % of rounded rows, 3 % of other operations.
        assert ours == pytest.approx(published.multiply_adds, rel=0.06)
        assert ours != pytest.approx(published.multiply_adds, rel=1e-4)
    else:
        assert round(ours, decimals(published.multiply_adds)) == published.multiply_adds


def test_multiply_adds_of_a_known_network():
    # By hand, 8x8 images: stem 3x3x1x32; block 0: two 3x3 of 32; blocks 1 to 4 at 4x4 pixels and 64
    # channels, the first from 32 with a 1x1 shortcut; classifier 64x10.
    network = nets.create("nf_resnet_digits", 10, depths=(1, 4))
    stem, block_0 = 64 * 9 * 32, 64 * 2 * 9 * 32 * 32
    first = 16 * (9 * 32 * 64 + 9 * 64 * 64 + 32 * 64)
    others = 3 * 16 * 2 * 9 * 64 * 64
    expected = stem + block_0 + first + others + 640
    assert cost.multiply_adds(network, (8, 8, 1)) == expected
    scanned = nets.create("nf_resnet_digits", 10, depths=(1, 4), scan_blocks=True)
    assert cost.multiply_adds(scanned, (8, 8, 1)) == expected


@pytest.mark.parametrize("name, overrides", [
    ("nf_resnet_digits", dict(depths=(1, 4), stochastic_depth_rate=0.5)),
    ("skipinit_resnet_digits", dict(depths=(4, 1))),
    ("fixup_resnet_digits", dict(depths=(1, 4))),
    ("plain_resnet_digits", dict(depths=(4, 1))),
    ("nfnet_digits", dict(depths=(1, 4))),
    ("nf_regnet_digits", dict(depths=(1, 4), use_se=False, use_eca=True)),
])
def test_scanned_blocks_are_the_unrolled_network(name, overrides):
    unrolled = nets.create(name, 10, **overrides)
    scanned = nets.create(name, 10, scan_blocks=True, **overrides)
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    params, _ = jax.jit(lambda k: unrolled.init(k, images, True))(jax.random.key(0))
    same, _ = jax.jit(lambda k: scanned.init(k, images, True))(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, params, same)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda w: w + 0.1 * rng.normal(size=w.shape).astype(np.float32), params)

    def loss(network):
        def function(params):
            logits = network.apply(params, {}, None, images, False)[0]["logits"]
            return jnp.mean(logits**2)
        return jax.jit(jax.value_and_grad(function))(params)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(
        a, b, rtol=1e-4, atol=1e-5 * np.abs(a).max()), *map(loss, (unrolled, scanned)))


def test_scanned_blocks_drop_branches_at_their_own_rates():
    # Kept branches count 1, dropped ones 0: the mean over many examples shows each block's rate.
    network = nets.create("nf_resnet_digits", 10, scan_blocks=True, depths=(1, 5), alpha=1.0,
                          stochastic_depth_rate=0.6, activation="identity")
    images = jnp.ones((4000, 4, 4, 1))
    params, _ = jax.eval_shape(lambda k: network.init(k, images[:1], True), jax.random.key(0))
    # Branches that output 1 whatever their input: only the bias of the last convolution is left.
    zeroed = {}
    for module, values in params.items():
        values = {k: jnp.zeros(v.shape) for k, v in values.items()}
        if module.endswith("conv1"):
            values["bias"] = jnp.ones_like(values["bias"])
        if "skip_gain" in values:
            values["skip_gain"] = jnp.ones_like(values["skip_gain"])
        zeroed[module] = values
    features = network.apply(zeroed, {}, jax.random.key(1), images, True)[0]["features"]
    # Block 1 is the transition, whose shortcut is 0; blocks 1..5 of 6 add 1 if kept.
    keep = 1 - 0.6 * np.arange(1, 6) / 6
    standard_error = np.sqrt(np.sum(keep * (1 - keep)) / 4000)
    assert abs(float(features[:, 0].mean()) - keep.sum()) < 4 * standard_error
