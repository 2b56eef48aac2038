import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import nets
from nfnets_jax.nets import make_norm

IMAGES = np.random.default_rng(0).normal(np.arange(8), 2.0, (6, 5, 5, 8)).astype(np.float32)


def apply_norm(kind, x, **arguments):
    """The output of a new norm, in training mode, with its initial parameters."""
    network = hk.transform_with_state(
        lambda x: make_norm(kind, **arguments)(x, True, name="norm"))
    params, state = network.init(jax.random.key(0), x)
    return network.apply(params, state, None, x)[0]


def test_batch_norm_standardizes_channels_and_averages_over_replicas():
    def forward(x, axis):
        return make_norm("batch", cross_replica_axis=axis)(x, True, name="bn")

    network = hk.without_apply_rng(hk.transform_with_state(forward))
    x = np.random.default_rng(0).normal(np.arange(5), 3.0, (16, 4, 4, 5)).astype(np.float32)
    params, state = network.init(jax.random.key(1), x, None)
    outputs, new_state = map(jax.device_get, network.apply(params, state, x, None))
    np.testing.assert_allclose(np.mean(outputs, (0, 1, 2)), np.zeros(5), atol=1e-5)
    np.testing.assert_allclose(np.var(outputs, (0, 1, 2)), np.ones(5), atol=1e-4)
    # Haiku's average divides by 1 - decay^n, so that one step gives the batch's own mean.
    average = new_state["bn/~/mean_ema"]["average"].reshape(-1)
    np.testing.assert_allclose(average, np.mean(x, (0, 1, 2)), rtol=1e-4, atol=1e-5)
    replicas = x.reshape(4, 4, 4, 4, 5)
    apply = jax.vmap(lambda x: network.apply(params, state, x, "data")[0], axis_name="data")
    np.testing.assert_allclose(apply(replicas).reshape(x.shape), outputs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "axes"), [("layer", (1, 2, 3)), ("instance", (1, 2))])
def test_layer_and_instance_norm_are_their_formulas(kind, axes):
    x = IMAGES.astype(np.float64)
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    np.testing.assert_allclose(apply_norm(kind, IMAGES), expected, atol=2e-5)


def test_group_norm_is_its_formula_and_meets_its_two_limits():
    x = IMAGES.astype(np.float64).reshape(6, 5, 5, 2, 4)
    axes = (1, 2, 4)
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    outputs = apply_norm("group", IMAGES, num_groups=2)
    np.testing.assert_allclose(outputs, expected.reshape(IMAGES.shape), atol=2e-5)
    np.testing.assert_array_equal(
        apply_norm("group", IMAGES, num_groups=1), apply_norm("layer", IMAGES))
    np.testing.assert_array_equal(
        apply_norm("group", IMAGES, num_groups=16), apply_norm("instance", IMAGES))
    np.testing.assert_allclose(apply_norm("group", 7 * IMAGES, num_groups=2), outputs, atol=2e-5)


@pytest.mark.parametrize("kind", ["layer", "group", "instance", "none"])
def test_an_image_is_normalized_whatever_the_others_are(kind):
    others = IMAGES.copy()
    others[1:] *= 3.0
    np.testing.assert_array_equal(apply_norm(kind, IMAGES)[0], apply_norm(kind, others)[0])
    assert np.abs(apply_norm("batch", IMAGES)[0] - apply_norm("batch", others)[0]).max() > 0.1


def test_half_precision_inputs_are_normalized_in_float32():
    x = jnp.asarray(IMAGES + 300.0, jnp.bfloat16)
    outputs = apply_norm("group", x, num_groups=2)
    assert outputs.dtype == jnp.bfloat16
    expected = apply_norm("group", x.astype(jnp.float32), num_groups=2)
    np.testing.assert_array_equal(outputs, expected.astype(jnp.bfloat16))


def test_calibrated_norm_starts_as_batch_norm_and_keeps_no_statistics():
    np.testing.assert_allclose(
        apply_norm("calibrated", IMAGES), apply_norm("batch", IMAGES), atol=2e-5)
    network = hk.transform_with_state(
        lambda x: make_norm("calibrated")(x, True, name="norm", scale_init=0.5))
    params, state = network.init(jax.random.key(0), IMAGES)
    assert not state
    outputs = network.apply(params, state, None, 2 * IMAGES)[0]
    assert 0.9 < np.std(outputs) < 1.2  # scale 0.5 on twice the deviation
    np.testing.assert_array_equal(
        outputs[0], network.apply(params, state, None, 2 * IMAGES[:1])[0][0])


def test_a_calibrated_network_equals_the_batch_normalized_one_on_its_images():
    images = np.random.default_rng(1).normal(size=(16, 8, 8, 1)).astype(np.float32)
    outputs, gradients = {}, {}
    for norm in ("batch", "calibrated"):
        network = nets.create("bn_v1_resnet_digits", None, norm=norm)
        params, state = network.init(jax.random.key(2), images, is_training=True)

        def features(params, network=network, state=state):
            return network.apply(params, state, None, images, True)[0]["features"]

        outputs[norm] = features(params)
        gradients[norm] = jax.grad(lambda p, f=features: jnp.sum(jnp.sin(f(p))))(params)
    np.testing.assert_allclose(outputs["calibrated"], outputs["batch"], atol=1e-4)
    stem = [gradients[norm]["bn_v1_resnet/initial_conv"]["w"] for norm in outputs]
    assert np.abs(stem[0] - stem[1]).max() > 0.1 * np.abs(stem[0]).max()


@pytest.mark.parametrize("kind", ["layer", "group", "instance", "none"])
@pytest.mark.parametrize("weight_standardization", [False, True])
def test_networks_without_batch_statistics_have_no_state(kind, weight_standardization):
    network = nets.create("bn_v1_resnet_digits", None, norm=kind, num_groups=8,
                          weight_standardization=weight_standardization)
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)
    params, state = network.init(jax.random.key(0), images, True)
    assert not state
    names = {name for module in params.values() for name in module}
    assert names == {"w", "scale", "offset"}
    kernel = params["bn_v1_resnet/block_0/conv0"]["w"]
    moved = jax.tree.map(jnp.array, params)
    moved["bn_v1_resnet/block_0/conv0"]["w"] = 3.0 * kernel + np.arange(kernel.shape[-1])

    def features(params):
        return network.apply(params, state, None, images, True)[0]["features"]

    same = np.allclose(features(moved), features(params), atol=1e-3)
    assert same == weight_standardization  # WS(a W + b) = WS(W)


def test_norms_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="norm='bach' is unknown; allowed: batch, ghost_batch"):
        make_norm("bach")
    with pytest.raises(ValueError, match="num_groups=3: does not divide .* 8 channels; use 1"):
        apply_norm("group", IMAGES, num_groups=3)
    with pytest.raises(ValueError, match="one number to normalize"):
        apply_norm("group", IMAGES[:, 0, 0], num_groups=8)


def test_without_projections_a_shortcut_skips_pixels_and_adds_channels_of_zeros():
    # With branches of scale 0 the blocks are their shortcuts, of what the stem has rectified.
    images = np.random.default_rng(0).normal(size=(4, 9, 8, 1)).astype(np.float32)
    network = nets.create("bn_v1_cifar_resnet8", None, last_scale_init=0.0, stem_width=3,
                          widths=(3, 5), depths=(1, 1), strides=(1, 2))
    stems = []

    def record(next_method, args, kwargs, context):
        output = next_method(*args, **kwargs)
        if context.module.name == "stem" and context.method_name == "__call__":
            stems.append(output)
        return output

    @jax.jit
    def stem_and_features(key):
        params, state = network.init(key, images, True)
        with hk.intercept_methods(record):
            outputs, _ = network.apply(params, state, None, images, True)
        return stems[0], outputs["features"]

    stem, features = stem_and_features(jax.random.key(0))
    np.testing.assert_allclose(
        features[:, :3], stem[:, ::2, ::2].mean((1, 2)), rtol=1e-4, atol=1e-6)
    assert features.shape == (4, 5) and not features[:, 3:].any()


def test_the_first_scale_of_a_branch_s_last_norm_can_be_zero():
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    network = nets.create("bn_v1_resnet_digits", None, last_scale_init=0.0)
    params, state = network.init(jax.random.key(0), images, True)
    scales = {name.split("/")[-1]: float(values["scale"].ravel()[0])
              for name, values in params.items() if "block_1" in name and "scale" in values}
    assert scales == {"bn0": 1.0, "bn1": 0.0}
    # As with skip_gain = 0, the branches have no say.
    others = {name: jax.tree.map(lambda w: 1 - 2 * w, values) if "/conv" in name else values
              for name, values in params.items() if "shortcut" not in name}
    np.testing.assert_array_equal(*(
        network.apply({**params, **p}, state, None, images, True)[0]["features"]
        for p in (params, others)))


@pytest.mark.parametrize("name", ["bn_v1_resnet_digits", "nf_resnet_digits", "bn_resnet_digits"])
def test_rematerialized_blocks_give_the_same_gradients(name):
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    gradients = []
    for remat in (False, True):
        network = nets.create(name, 10, remat_blocks=remat)
        params, state = network.init(jax.random.key(0), images, True)

        def loss(params, network=network, state=state):
            outputs, new_state = network.apply(params, state, jax.random.key(1), images, True)
            return jnp.sum(jnp.sin(outputs["features"])), new_state

        gradients.append(jax.jit(jax.grad(loss, has_aux=True))(params))
        count = str(jax.make_jaxpr(jax.grad(loss, has_aux=True))(params)).count("remat")
        assert (count > 0) == remat
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), *gradients)
