"""The fully connected residual networks: exact checks of arXiv 2002.10444's construction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import nets
from nfnets_jax.config import ConfigError, check_config, default_config
from nfnets_jax.optim.sgd import decay_mask

IMAGES = np.random.default_rng(0).normal(size=(16, 4, 4, 1)).astype(np.float32)
SMALL = dict(width=8, num_blocks=5)


def create(name, **overrides):
    """A small network with parameters away from their initial values."""
    network = nets.create(name, 3, **{**SMALL, **overrides})
    params, state = jax.jit(network.init, static_argnums=2)(jax.random.key(0), IMAGES, True)
    rng = np.random.default_rng(1)
    moved = jax.tree.map(lambda w: w + 0.2 * rng.normal(size=w.shape).astype(np.float32), params)
    return network, moved, state


def logits(network, params, state=None, is_training=True, images=IMAGES):
    apply = jax.jit(network.apply, static_argnums=4)
    return apply(params, state or {}, None, images, is_training)[0]["logits"]


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=2e-4)


def relu(x):
    return np.maximum(x, 0.0)


def unrolled(name, params, x, skip=1.0):
    """The network as NumPy would compute it in float64, one block after the other."""
    params = jax.tree.map(lambda w: np.asarray(w, np.float64), params)

    def linear(module, x, index=...):
        values = params[f"{name}/{module}"]
        return x @ values["w"][index] + (values["b"][index] if "b" in values else 0.0)

    def norm(module, x, index=...):
        if name != "bn_mlp":
            return x
        values = params[f"{name}/{module}"]
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        return x * values["scale"][index] + values["offset"][index]

    own = params.get(f"{name}/blocks/block", {})
    x = linear("stem", x.reshape(len(x), -1))
    for k in range(SMALL["num_blocks"]):
        out = x
        for i in range(2):
            if name == "fixup_mlp":
                out = relu(out + own[f"bias{i}a"][k]) + own[f"bias{i}b"][k]
            else:
                out = relu(norm(f"blocks/block/bn{i}", out, k))
            out = linear(f"blocks/block/linear{i}", out, k)
        if name == "fixup_mlp":
            out = out * own["scale"][k] + own["bias2"][k]
        if name == "skipinit_mlp":
            out = out * own["skip_gain"][k]
        x = (skip * x + out) / (np.sqrt(2) if name == "sqrt2_mlp" else 1.0)
    return linear("classifier", relu(norm("final_bn", x)))


@pytest.mark.parametrize("name", ["bn_mlp", "skipinit_mlp", "sqrt2_mlp", "plain_mlp", "fixup_mlp"])
def test_the_loop_over_blocks_is_the_unrolled_float64_network(name):
    network, params, state = create(name)
    assert_close(logits(network, params, state), unrolled(name, params, np.float64(IMAGES)))


def test_with_gains_0_the_network_is_stem_and_classifier_and_branches_get_no_gradient():
    network, params, _ = create("skipinit_mlp")
    blocks = "skipinit_mlp/blocks/block"
    params[blocks] = dict(skip_gain=jnp.zeros(5))
    outputs = network.apply(params, {}, None, IMAGES, True)[0]
    features = jax.nn.relu(IMAGES.reshape(16, 16) @ params["skipinit_mlp/stem"]["w"]
                           + params["skipinit_mlp/stem"]["b"])
    np.testing.assert_allclose(outputs["features"], features, rtol=1e-6, atol=1e-6)
    classifier = params["skipinit_mlp/classifier"]
    np.testing.assert_allclose(outputs["logits"], features @ classifier["w"] + classifier["b"],
                               rtol=1e-5, atol=1e-5)

    gradients = jax.grad(lambda p: jnp.sum(jnp.sin(logits(network, p))))(params)
    for module in (f"{blocks}/linear0", f"{blocks}/linear1"):
        assert not any(np.any(g) for g in gradients[module].values())
    # d loss / d alpha_l = <delta, f_l(x)>, where delta is the gradient at the last activation's
    # input, the same for all blocks, and x the stem's output.
    x = np.float64(IMAGES.reshape(16, 16)) @ np.float64(
        params["skipinit_mlp/stem"]["w"]) + np.float64(params["skipinit_mlp/stem"]["b"])
    w, b = (np.float64(classifier[k]) for k in ("w", "b"))
    delta = (np.cos(relu(x) @ w + b) @ w.T) * (x > 0)
    first, last = (jax.tree.map(np.float64, params[f"{blocks}/linear{i}"]) for i in range(2))
    expected = [np.sum(delta * (
        relu(relu(x) @ first["w"][k] + first["b"][k]) @ last["w"][k] + last["b"][k]))
        for k in range(5)]
    np.testing.assert_allclose(gradients[blocks]["skip_gain"], expected, rtol=1e-4, atol=1e-4)


def test_gains_of_1_are_no_gains():
    skipinit, params, _ = create("skipinit_mlp")
    params["skipinit_mlp/blocks/block"] = dict(skip_gain=jnp.ones(5))
    plain = nets.create("plain_mlp", 3, **SMALL)
    renamed = {module.replace("skipinit", "plain"): values for module, values in params.items()
               if module != "skipinit_mlp/blocks/block"}
    np.testing.assert_array_equal(logits(skipinit, params), logits(plain, renamed))


@pytest.mark.parametrize("name", ["bn_mlp", "plain_mlp"])
def test_without_skips_the_network_is_its_branches(name):
    network, params, state = create(name, use_skip=False)
    with_skips, same, _ = create(name)
    jax.tree.map(np.testing.assert_array_equal, params, same)
    assert_close(logits(network, params, state),
                 unrolled(name, params, np.float64(IMAGES), skip=0.0))
    assert np.abs(logits(network, params, state) - logits(with_skips, params, state)).max() > 0.1


def test_a_gain_is_a_scale_of_the_last_matrix_and_its_bias():
    network, params, _ = create("skipinit_mlp")
    blocks = "skipinit_mlp/blocks/block"
    plain = nets.create("plain_mlp", 3, **SMALL)
    scaled = {module.replace("skipinit", "plain"): values for module, values in params.items()
              if module != blocks}
    scaled["plain_mlp/blocks/block/linear1"] = {
        name: value * params[blocks]["skip_gain"].reshape(5, *[1] * (value.ndim - 1))
        for name, value in params[f"{blocks}/linear1"].items()}
    assert_close(logits(plain, scaled), logits(network, params))
    # Twice the matrix and half the gain: the same function, half and twice the gradient.
    twice = {**params, blocks: dict(skip_gain=params[blocks]["skip_gain"] / 2),
             f"{blocks}/linear1": jax.tree.map(lambda w: 2 * w, params[f"{blocks}/linear1"])}
    np.testing.assert_array_equal(logits(network, twice), logits(network, params))
    before, after = (jax.grad(lambda p: jnp.sum(jnp.sin(logits(network, p))))(p)
                     for p in (params, twice))
    assert_close(after[f"{blocks}/linear1"]["w"], before[f"{blocks}/linear1"]["w"] / 2)
    assert_close(after[blocks]["skip_gain"], before[blocks]["skip_gain"] * 2)


def test_batch_norm_s_state_is_that_of_each_block():
    network, params, state = create("bn_mlp", bn_decay_rate=0.5)
    assert not any(np.any(average[key]) for average in state.values()
                   for key in ("counter", "hidden"))
    _, state = network.apply(params, state, None, IMAGES, True)
    x = np.float64(IMAGES.reshape(16, 16)) @ np.float64(params["bn_mlp/stem"]["w"]) + np.float64(
        params["bn_mlp/stem"]["b"])
    averages = {name.split("/~/")[-1]: values["average"] for name, values in state.items()
                if "blocks/block/bn0" in name}
    np.testing.assert_allclose(averages["mean_ema"][0, 0], x.mean(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(averages["var_ema"][0, 0], x.var(0), rtol=1e-4, atol=1e-4)
    # With one update, the averages are the batch's own: a test pass repeats the training pass.
    assert_close(logits(network, params, state, is_training=False),
                 logits(network, params, state))


def test_the_input_of_a_branch_has_mean_0_and_variance_1_behind_batch_norm():
    # Without an activation the features are the last norm's output.
    network = nets.create("bn_mlp", None, width=8, num_blocks=1, activation="identity")
    params, state = network.init(jax.random.key(0), 100 * IMAGES + 7, True)
    features = np.asarray(
        network.apply(params, state, None, 100 * IMAGES + 7, True)[0]["features"], np.float64)
    np.testing.assert_allclose(features.mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(features.var(0), 1.0, atol=1e-4)


def test_first_weights_are_he_s_for_each_block_and_fixup_s_are_smaller():
    for name, variance in (("plain_mlp", 2 / 64), ("fixup_mlp", 2 / 64 / 50)):
        network = nets.create(name, 10, num_blocks=50)
        params, _ = network.init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32), True)
        w = np.float64(params[f"{name}/blocks/block/linear0"]["w"])
        assert w.shape == (50, 64, 64)
        ratios = np.mean(w**2, (1, 2)) / variance
        assert np.abs(ratios - 1).max() < 4.5 * np.sqrt(2 / 64**2)
        assert len(np.unique(ratios)) == 50
    assert not np.any(params["fixup_mlp/blocks/block/linear1"]["w"])
    assert not np.any(params["fixup_mlp/classifier"]["w"])


def test_weights_decay_and_biases_gains_scales_do_not():
    for name in ("skipinit_mlp", "bn_mlp", "fixup_mlp"):
        mask = decay_mask(create(name)[1])
        for module, values in mask.items():
            assert values == {key: key == "w" for key in values}, module


@pytest.mark.parametrize("name", ["skipinit_mlp", "bn_mlp"])
def test_a_network_of_250_blocks_is_one_loop(name):
    shallow, deep = (nets.create(name, 10, num_blocks=d) for d in (2, 250))
    sizes = []
    for network in (shallow, deep):
        params, state = jax.eval_shape(lambda k, n=network: n.init(k, IMAGES, True),
                                       jax.random.key(0))
        apply = lambda p, s, n=network: n.apply(p, s, None, IMAGES, True)  # noqa: E731
        sizes.append(len(str(jax.make_jaxpr(apply)(params, state)).splitlines()))
    assert sizes[0] == sizes[1]


def test_configs_name_width_and_depth():
    config = default_config()
    config.num_epochs, config.schedule.warmup_epochs = 1.0, 0.0
    config.network.name, config.network.num_blocks = "skipinit_mlp", 48
    config.network.skip_gain_init = 0.1443
    assert check_config(config, 1)["network"] == dict(
        name="skipinit_mlp", width=64, num_blocks=48, activation="relu", skip_gain_init=0.1443)
    config.network.norm = "batch"
    with pytest.raises(ConfigError, match="network.norm"):
        check_config(config, 1)
    config.network.name, config.network.skip_gain_init = "bn_mlp", None
    assert "cross_replica_axis" not in check_config(config, 1)["network"]


@pytest.mark.parametrize("overrides, message", [
    (dict(num_blocks=0), "num_blocks=0 .* at least 1"),
    (dict(width=2.5), "width=2.5 .* a whole number"),
    (dict(norm="instance"), "norm='instance': has one number to normalize"),
    (dict(norm="group", num_groups=24), "num_groups=24: does not divide .* 64 channels; use 8"),
    (dict(activation="glu"), "activation='glu' is not allowed in bn_mlp"),
    (dict(skip_gain_init=0.0), "network 'bn_mlp' has no argument 'skip_gain_init'"),
])
def test_wrong_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        nets.create("bn_mlp", 10, **overrides)
