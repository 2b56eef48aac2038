import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import nets
from nfnets_jax.analysis import signal_propagation
from nfnets_jax.nets import make_norm
from nfnets_jax.tasks import classification_figures

IMAGES = np.random.default_rng(0).normal(np.arange(5), 3.0, (12, 4, 4, 5)).astype(np.float32)


def norm(kind, **arguments):
    def forward(x, is_training=True):
        return make_norm(kind, decay_rate=0.6, **arguments)(x, is_training, name="bn")

    return hk.without_apply_rng(hk.transform_with_state(forward))


def parameters(network, images=IMAGES):
    params, state = network.init(jax.random.key(0), images)
    rng = np.random.default_rng(2)
    return jax.tree.map(lambda w: w + rng.normal(size=w.shape).astype(np.float32), params), state


@pytest.mark.parametrize("ghost_size", [12, 64])
@pytest.mark.parametrize("images", [IMAGES, IMAGES[:, 0, 0]])
def test_one_group_is_plain_batch_norm(ghost_size, images):
    results = []
    for network in (norm("batch"), norm("ghost_batch", ghost_size=ghost_size)):
        params, state = parameters(network, images)

        def loss(params, x, network=network, state=state):
            outputs, new_state = network.apply(params, state, x)
            return jnp.sum(jnp.sin(outputs)), (outputs, new_state)

        gradients, (outputs, state) = jax.grad(loss, (0, 1), has_aux=True)(params, images)
        _, second = network.apply(params, state, 2 * images + 1)
        at_test, _ = network.apply(params, second, images, False)
        results.append((params, gradients, outputs, state, second, at_test))
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_groups_are_normalized_by_their_own_float64_statistics():
    network = norm("ghost_batch", ghost_size=4)
    params, state = parameters(network)
    outputs, state = network.apply(params, state, IMAGES)
    _, state = network.apply(params, state, 2 * IMAGES)
    at_test, _ = network.apply(params, state, IMAGES, False)
    groups = IMAGES.reshape(3, 4, 4, 4, 5).astype(np.float64)
    mean = groups.mean((1, 2, 3), keepdims=True)
    variance = groups.var((1, 2, 3), keepdims=True)
    scale, offset = (np.float64(params["bn"][name].ravel()) for name in ("scale", "offset"))
    expected = (groups - mean) / np.sqrt(variance + 1e-5) * scale + offset
    np.testing.assert_allclose(outputs, expected.reshape(IMAGES.shape), atol=1e-4)
    # Two updates with decay 0.6, over 1 - 0.6^2; the second batch has twice the mean.
    mean = (0.6 * 0.4 + 0.4 * 2) / 0.64 * mean.mean((0, 1, 2, 3))
    variance = (0.6 * 0.4 + 0.4 * 4) / 0.64 * variance.mean((0, 1, 2, 3))
    np.testing.assert_allclose(state["bn/~/mean_ema"]["average"].ravel(), mean, rtol=1e-4)
    np.testing.assert_allclose(state["bn/~/var_ema"]["average"].ravel(), variance, rtol=1e-4)
    expected = (IMAGES - mean) / np.sqrt(variance + 1e-5) * scale + offset
    np.testing.assert_allclose(at_test, expected, atol=1e-4)


def test_permuting_whole_groups_permutes_the_outputs():
    network = norm("ghost_batch", ghost_size=3)
    params, state = parameters(network)
    order = np.array([2, 0, 3, 1])
    permuted = IMAGES.reshape(4, 3, 4, 4, 5)[order].reshape(IMAGES.shape)
    outputs, new_state = network.apply(params, state, IMAGES)
    outputs_of_permuted, state_of_permuted = network.apply(params, state, permuted)
    np.testing.assert_array_equal(
        outputs_of_permuted, outputs.reshape(4, 3, 4, 4, 5)[order].reshape(IMAGES.shape))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
                 new_state, state_of_permuted)
    # Examples of different groups, exchanged, give other outputs.
    swapped = IMAGES.copy()
    swapped[[0, 11]] = IMAGES[[11, 0]]
    others = np.asarray(network.apply(params, state, swapped)[0])
    assert np.abs(others[11] - outputs[0]).max() > 0.1


def test_a_network_sees_each_group_as_a_batch_of_its_own():
    images = np.random.default_rng(3).normal(size=(12, 8, 8, 1)).astype(np.float32)
    ghost = nets.create("bn_resnet_digits", None, norm="ghost_batch", ghost_size=4)
    plain = nets.create("bn_resnet_digits", None)
    params, state = jax.jit(plain.init, static_argnums=2)(jax.random.key(0), images, True)
    shapes = jax.eval_shape(lambda k: ghost.init(k, images, True), jax.random.key(0))
    assert jax.tree.structure(shapes) == jax.tree.structure((params, state))

    def features(network, x):
        return jax.jit(network.apply, static_argnums=4)(params, state, None, x, True)[0]["features"]

    expected = np.concatenate([features(plain, images[i:i + 4]) for i in (0, 4, 8)])
    np.testing.assert_allclose(features(ghost, images), expected, rtol=1e-4, atol=1e-5)


def test_signal_propagation_is_measured_with_the_statistics_of_groups(tmp_path):
    images = np.random.default_rng(3).normal(size=(8, 8, 8, 1)).astype(np.float32)
    measured = []
    for overrides in (dict(norm="ghost_batch", ghost_size=8), {}):
        network = nets.create("bn_resnet_digits", 10, **overrides)
        params, state = network.init(jax.random.key(0), images, True)
        measured.append(signal_propagation.measure(network, params, state, images))
    jax.tree.map(np.testing.assert_array_equal, *measured)
    # The figure of a run is of as many images as there are, whole groups or not.
    config = dict(scalar_logit=False,
                  network=dict(name="bn_resnet_digits", norm="ghost_batch", ghost_size=5),
                  dataset=dict(name="digits"))
    drawn = classification_figures.draw_signal_propagation(
        config, params, state, images, str(tmp_path / "figure.png"))
    jax.tree.map(np.testing.assert_array_equal, drawn, measured[0])


def test_a_batch_that_is_no_whole_number_of_groups_is_refused():
    with pytest.raises(ValueError, match="ghost_size=8: does not divide the 12 examples .* use 4"):
        norm("ghost_batch", ghost_size=8).init(jax.random.key(0), IMAGES)
    with pytest.raises(ValueError, match="ghost_size=0 .* at least 1"):
        nets.create("bn_resnet_digits", 10, norm="ghost_batch", ghost_size=0)
