import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import nets
from nfnets_jax.analysis.signal_propagation import measure, with_unit_skip_gain
from nfnets_jax.nets.layers import Tag

SMALL = dict(widths=(8, 16), depths=(3, 2), stem_width=8)
NUM_CLASSES = 5


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(6, 8, 8, 2)).astype(np.float32)


def create(block, **overrides):
    return nets.create(f"{block}_resnet_digits", NUM_CLASSES, **{**SMALL, **overrides})


def initialize(network, images):
    return network.init(jax.random.key(0), images, True)


def initialize_quickly(network, images):
    """N(0, 1 / fan_in) weights from NumPy, since compiling Haiku's draws takes seconds."""
    shapes, state = jax.eval_shape(lambda x: initialize(network, x), images)
    rng = np.random.default_rng(0)

    def draw(module_name, name, leaf):
        if name == "w":
            stddev = np.prod(leaf.shape[:-1]) ** -0.5
            return rng.normal(0.0, stddev, leaf.shape).astype(leaf.dtype)
        return np.full(leaf.shape, name in ("gain", "scale"), leaf.dtype)

    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    return hk.data_structures.map(draw, shapes), zeros


def is_branch(module_name):
    return "/block_" in module_name and "conv_shortcut" not in module_name


@pytest.mark.parametrize("block", ["nf", "skipinit"])
def test_zero_skip_gain_silences_the_branches_and_their_gradients(block, images):
    network = create(block, depths=(1, 2))
    params, state = initialize_quickly(network, images)

    @jax.jit
    def logits_and_gradients(params):
        def loss(params):
            logits = network.apply(params, state, None, images, True)[0]["logits"]
            return jnp.sum(jnp.sin(logits)), logits

        gradients, logits = jax.grad(loss, has_aux=True)(params)
        return logits, gradients

    logits, gradients = logits_and_gradients(params)
    for module, name, gradient in hk.data_structures.traverse(gradients):
        silent = is_branch(module) and name != "skip_gain"
        assert bool(np.all(gradient == 0.0)) == silent, f"{module}/{name}"
    rng = np.random.default_rng(1)
    other = hk.data_structures.map(
        lambda module, name, value: rng.normal(size=value.shape).astype(value.dtype)
        if is_branch(module) and name != "skip_gain"
        else value,
        params,
    )
    np.testing.assert_array_equal(logits_and_gradients(other)[0], logits)


def test_skip_gain_gradient_is_alpha_times_the_branch_along_the_output_gradient(images):
    alpha = 0.3
    network = create("nf", alpha=alpha)
    params, state = initialize_quickly(network, images)

    def loss(params, perturbations):
        branches, remaining = [], list(perturbations)

        def intercept(next_method, args, kwargs, context):
            output = next_method(*args, **kwargs)
            if isinstance(context.module, Tag) and context.method_name == "__call__":
                if context.module.kind == "residual_branch":
                    branches.append(output)
                elif context.module.kind == "block_output":
                    output = output + remaining.pop(0)
            return output

        with hk.intercept_methods(intercept):
            outputs = network.apply(params, state, None, images, True)[0]
        return jnp.sum(jnp.sin(outputs["logits"])), branches

    shapes = [(6, 8, 8, 8)] * 3 + [(6, 4, 4, 16)] * 2
    zeros = [np.zeros(shape, np.float32) for shape in shapes]
    (gradients, deltas), branches = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, zeros)
    for i, (delta, branch) in enumerate(zip(deltas, branches, strict=True)):
        expected = alpha * np.sum(np.float64(delta) * np.float64(branch))
        found = gradients[f"nf_resnet/block_{i}"]["skip_gain"]
        assert found == pytest.approx(expected, rel=1e-4)
    # While the branches are silent, every block of a stage sees the same gradient.
    np.testing.assert_array_equal(deltas[0], deltas[2])
    np.testing.assert_array_equal(deltas[3], deltas[4])


def test_stochastic_depth_rate_grows_from_zero(images):
    network = create("nf", stochastic_depth_rate=0.5)
    rates = []

    def record(next_method, args, kwargs, context):
        output = next_method(*args, **kwargs)
        if isinstance(context.module, nets.StochasticDepth) and context.method_name == "__call__":
            rates.append(context.module.rate)
        return output

    with hk.intercept_methods(record):
        jax.eval_shape(lambda x: initialize(network, x), images)
    np.testing.assert_allclose(rates, [0.0, 0.1, 0.2, 0.3, 0.4])


# The second is "regularized SkipInit" of arXiv 2002.10444: biases everywhere, and dropout.
@pytest.mark.parametrize("block, overrides", [
    ("nf", {}), ("skipinit", dict(conv_bias=True, stem_bias=True))])
def test_dropout_acts_on_the_logits_and_not_on_the_features(block, overrides, images):
    network = nets.create(
        f"{block}_resnet_digits", 16, **SMALL, dropout_rate=0.75, **overrides)
    params, state = initialize_quickly(network, images)
    assert all(values.keys() & {"b", "bias"} for values in params.values() if "w" in values)
    identity = dict(w=np.eye(16, dtype=np.float32), b=np.zeros(16, np.float32))
    params = {**params, f"{block}_resnet/classifier": identity}
    outputs, _ = network.apply(params, state, jax.random.key(3), images, True)
    features, logits = np.asarray(outputs["features"]), np.asarray(outputs["logits"])
    tested, _ = network.apply(params, state, None, images, False)
    np.testing.assert_array_equal(tested["logits"], features)
    kept = logits != 0.0
    np.testing.assert_allclose(logits[kept], 4.0 * features[kept], rtol=1e-5)
    assert abs(kept.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / kept.size)


def test_dividing_by_sqrt_2_at_each_block_shrinks_a_network_without_biases(images):
    # Such a network is homogeneous: a block's constant passes through all that follows it.
    features = []
    for block in ("plain", "sqrt2"):
        network = create(block, conv_bias=False)
        params, state = initialize_quickly(network, images)
        features.append(network.apply(params, state, None, images, True)[0]["features"])
    np.testing.assert_allclose(features[1], features[0] * 2 ** (-5 / 2), rtol=1e-4, atol=1e-6)


def test_fixup_is_the_identity_inside_a_stage_at_initialization(images):
    network = create("fixup")
    params, state = initialize(network, images)
    outputs, _ = network.apply(params, state, None, images, True)
    np.testing.assert_array_equal(outputs["logits"], np.zeros((6, NUM_CLASSES)))
    measured = measure(network, params, state, images)
    np.testing.assert_array_equal(measured["residual_variance"], np.zeros(5))
    for quantity in ("average_variance", "average_squared_mean"):
        stem_and_first_stage, second_stage = measured[quantity][:4], measured[quantity][4:]
        assert len(set(stem_and_first_stage)) == len(set(second_stage)) == 1
    assert measured["average_variance"][4] != measured["average_variance"][3] > 0


def test_initial_weights_follow_each_kind_of_network(images):
    wide = dict(widths=(64, 64), depths=(1, 2), stem_width=64)
    # 3x3 convolutions from 64 to 64 channels: 36,864 weights, a relative standard error of 0.4%.
    fan_in = fan_out = 9 * 64
    expected = {
        ("nf", ()): fan_in**-0.5,
        ("skipinit", ()): np.sqrt(0.7737413 / fan_in),
        ("skipinit", (("weight_init", "he"),)): np.sqrt(2 / fan_in),
        ("fixup", ()): np.sqrt(2 / fan_out) * 3**-0.5,
        ("bn", ()): np.sqrt(0.7737413 / fan_in),
    }
    for (block, overrides), stddev in expected.items():
        params, _ = initialize(create(block, **wide, **dict(overrides)), images)
        root = f"{block}_resnet"
        assert np.std(params[f"{root}/block_1/conv0"]["w"]) == pytest.approx(stddev, rel=0.02)
        if block == "fixup":
            assert not np.any(params[f"{root}/block_1/conv1"]["w"])
            shortcut = params[f"{root}/block_1/conv_shortcut"]["w"]
            assert np.std(shortcut) == pytest.approx(np.sqrt(2 / 64), rel=0.05)
        classifier = np.asarray(params[f"{root}/classifier"]["w"])
        if block == "nf":
            assert np.std(classifier) == pytest.approx(0.01, rel=0.2)
        else:
            assert not classifier.any()


def test_parameters_are_named_as_in_the_released_code(images):
    conv, plain_conv = ["bias", "gain", "w"], ["w"]
    expected = {
        "nf": {
            "": None,
            "/initial_conv": conv,
            "/block_0": ["skip_gain"],
            "/block_0/conv0": conv,
            "/block_0/conv1": conv,
            "/block_0/conv2": conv,
            "/block_0/conv_shortcut": conv,
            "/block_0/squeeze_excite/fc0": ["b", "w"],
            "/block_0/squeeze_excite/fc1": ["b", "w"],
            "/classifier": ["b", "w"],
        },
        "fixup": {
            "": ["bias1", "bias2"],
            "/initial_conv": plain_conv,
            "/block_0": ["bias1a", "bias1b", "bias2a", "bias2b", "bias3a", "bias3b", "scale"],
            "/block_0/conv0": plain_conv,
            "/block_0/conv1": plain_conv,
            "/block_0/conv2": plain_conv,
            "/block_0/conv_shortcut": plain_conv,
            "/classifier": ["b", "w"],
        },
    }
    one_block = dict(widths=(16,), depths=(1,), strides=(2,), bottleneck=True)
    for block, modules in expected.items():
        extra = dict(use_se=True) if block == "nf" else {}
        network = create(block, **one_block, **extra)
        params, _ = jax.eval_shape(lambda x, n=network: initialize(n, x), images)
        found = {name.removeprefix(f"{block}_resnet"): sorted(params[name]) for name in params}
        assert found == {name: leaves for name, leaves in modules.items() if leaves}


@pytest.mark.parametrize("block", ["nf", "skipinit", "fixup", "bn"])
def test_half_precision_images_give_nearly_the_logits_of_float32(block, images):
    numpy_alpha = dict(alpha=np.float64(0.2)) if block == "nf" else {}
    network = create(block, **numpy_alpha)
    half_images = images.astype(jnp.bfloat16)
    params, state = initialize_quickly(network, half_images)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, state))} <= {
        np.dtype(np.float32), np.dtype(np.int32)
    }
    params = with_unit_skip_gain(params)
    half, _ = network.apply(params, state, None, half_images, True)
    full, _ = network.apply(params, state, None, half_images.astype(np.float32), True)
    assert half["logits"].dtype == half["features"].dtype == jnp.float32
    # bfloat16 keeps 8 bits: a relative rounding of 0.4% in each of a dozen layers.
    error = np.std(half["logits"] - full["logits"]) / np.std(full["logits"])
    assert 1e-5 < error < 0.02


def test_batch_statistics_are_averaged_over_the_cross_replica_axis(images):
    whole, split = create("bn"), create("bn", cross_replica_axis="data")
    params, state = initialize_quickly(whole, images)
    expected, expected_state = whole.apply(params, state, None, images, True)

    def apply(images):
        return split.apply(params, state, None, images, True)

    replicas = images.reshape(2, 3, 8, 8, 2)
    found, found_state = jax.vmap(apply, axis_name="data")(replicas)
    np.testing.assert_allclose(
        found["logits"].reshape(6, NUM_CLASSES), expected["logits"], rtol=1e-3, atol=1e-4
    )
    jax.tree.map(
        lambda f, e: np.testing.assert_allclose(f[0], e, rtol=1e-3, atol=1e-4),
        found_state, expected_state,
    )
