import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import nets
from nfnets_jax.analysis import gram as gram_lib
from nfnets_jax.analysis import haiku_layers, per_example
from nfnets_jax.analysis.gram import gram
from nfnets_jax.nets import heads
from nfnets_jax.nets.autoencoder import create_autoencoder
from nfnets_jax.nets.conv import Conv2D
from nfnets_jax.nets.weight_standardization import WSConv2D
from nfnets_jax.training.mesh import make_mesh

N = 10


def gradients(losses):
    """A function of parameters and batch: all gradients [N, P] as JAX has them."""

    def one(params, example):
        return losses(params, jax.tree.map(lambda x: x[None], example))[0]

    def of(params, batch):
        grads = jax.vmap(jax.grad(one), (None, 0))(params, batch)
        return jnp.concatenate([x.reshape(N, -1) for x in jax.tree.leaves(grads)], 1)

    return jax.jit(of)


def assert_is_gram(actual, rows, tolerance):
    rows = np.asarray(rows, np.float64)
    expected = rows @ rows.T
    np.testing.assert_array_equal(actual, actual.T)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.max(expected))


def cross_entropy(logits, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]


def random_like(shapes, dtype):
    """Parameters, and statistics, of no initialisation, none of them 0 and most below 1."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: rng.uniform(0.1, 0.5, x.shape).astype(dtype)
                        * rng.choice([-1, 1, 1], x.shape).astype(dtype), shapes)


@pytest.fixture(scope="module")
def everything():
    """All kinds of layers, and all ways in which a parameter is not only a layer's."""

    def forward(x):
        x = jnp.tanh(Conv2D(4, 3, stride=2, with_bias=True, name="strided")(x))
        x = WSConv2D(8, 3, groups=2, name="standardized")(x)
        x = jnp.tanh(x * hk.get_parameter("gain", (8,), init=jnp.ones))
        x = jnp.tanh(hk.Conv2D(24, 2, stride=2, padding="VALID", name="haiku")(x))
        x = jnp.tanh(Conv2D(24, 3, name="few_positions")(x)).reshape(len(x), -1)
        x = jnp.tanh(heads.Linear(6, True, weight_standardization=True, name="dense_ws")(x))
        shared = hk.Linear(6, name="shared")
        x = jnp.tanh(shared(jnp.tanh(shared(x))))
        looped = hk.Linear(6, name="looped")
        x = hk.scan(lambda x, _: (jnp.tanh(looped(x)), None), x, jnp.arange(2))[0]
        return hk.Linear(3, name="penalized")(hk.Linear(6, name="plain")(x))

    network = hk.without_apply_rng(hk.transform(forward))
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        batch = dict(x=jnp.asarray(rng.normal(size=(N, 8, 8, 2))), y=jnp.arange(N) % 3)
        params = random_like(jax.eval_shape(network.init, jax.random.key(0), batch["x"]), "float64")

        def losses(params, batch):
            values = cross_entropy(network.apply(params, batch["x"]), batch["y"])
            return values + 0.1 * jnp.sum(params["penalized"]["w"] ** 2)

        return losses, params, batch, gradients(losses)(params, batch)


@pytest.fixture
def short_forms(monkeypatch):
    """Uses the short forms of layers however small they are."""
    monkeypatch.setattr(haiku_layers, "_SMALL", 0)


def test_layers_are_those_whose_parameters_nothing_else_uses(everything, short_forms):
    losses, params, batch, _ = everything
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    with jax.enable_x64(True):
        layers = haiku_layers.find_layers(losses, params, batch)
        found = [paths[layer.kernel][0].key for layer in layers]
    assert found == ["strided", "standardized", "haiku", "few_positions", "dense_ws", "plain"]
    named = [[paths[i][1].key for i in layer.leaves] for layer in layers]
    assert named == [["w", "b"], ["w", "bias", "gain"], ["w", "b"], ["w"], ["w", "b"], ["w", "b"]]


def test_structured_products_are_those_of_the_gradients(everything, short_forms, monkeypatch):
    losses, params, batch, rows = everything
    monkeypatch.setattr(gram_lib, "_PIECE", 4000)  # several pieces for each convolution
    with jax.enable_x64(True):
        # Two passes over the examples, in blocks that overlap.
        actual = np.asarray(gram(losses, params, batch, memory=8 * N * 1000, block_size=4))
        assert_is_gram(actual, rows, 1e-12)


@pytest.fixture(scope="module")
def small():
    """A function of two layers and a gain, its parameters and 12 examples."""

    def forward(x):
        gain = hk.get_parameter("gain", (3,), init=jnp.ones)
        x = jnp.tanh(WSConv2D(3, 3, name="standardized")(x) * gain)
        return hk.Linear(24, name="dense")(x.reshape(len(x), -1))

    network = hk.without_apply_rng(hk.transform(forward))
    x = np.random.default_rng(0).normal(size=(12, 4, 4, 2)).astype(np.float32)
    params = random_like(jax.eval_shape(network.init, jax.random.key(0), x), "float32")

    def losses(params, x):
        return jnp.sum(jnp.sin(network.apply(params, x)), -1)

    return losses, params, x, np.asarray(gram(losses, params, x))


@pytest.mark.parametrize("devices", [2, 4])
def test_devices_change_nothing(small, devices, short_forms):
    losses, params, x, alone = small
    shared = gram(losses, params, x, mesh=make_mesh(devices=jax.devices()[:devices]))
    np.testing.assert_allclose(shared, alone, rtol=0, atol=1e-6 * np.max(alone))


def test_devices_must_divide_the_examples(small):
    losses, params, x, _ = small
    with pytest.raises(ValueError, match="N=11 examples .* the 2 devices .* use 10"):
        gram(losses, params, x[:11], mesh=make_mesh(devices=jax.devices()[:2]))


def test_losses_must_be_of_examples(small):
    losses, params, x, _ = small
    with pytest.raises(ValueError, match=r"\[\], not \[1\]; return the loss of each example"):
        gram(lambda params, x: jnp.mean(losses(params, x)), params, x)


def test_bound_arrays_are_not_part_of_the_program(small):
    losses, params, x, alone = small

    def scaled(scale, params, x):
        return scale * losses(params, x)

    first = gram(jax.tree_util.Partial(scaled, jnp.float32(2.0)), params, x)
    compiled = gram_lib._differentiate._cache_size()
    second = gram(jax.tree_util.Partial(scaled, jnp.float32(3.0)), params, x)
    assert gram_lib._differentiate._cache_size() == compiled
    np.testing.assert_allclose(first, 4.0 * alone, rtol=1e-4, atol=1e-6 * np.max(alone))
    np.testing.assert_allclose(second, 9.0 * alone, rtol=1e-4, atol=1e-6 * np.max(alone))


@pytest.mark.parametrize("name, arguments, of_layers", [
    ("nf_resnet_digits", dict(widths=(4,), depths=(1,), strides=(2,), stem_width=4), 14),
    ("bn_resnet_digits", dict(widths=(4,), depths=(1,), strides=(2,), stem_width=4), 6),
    ("mlp", dict(widths=(5, 7)), 6),
    ("skipinit_mlp", dict(num_blocks=2, width=5), 4),
])
def test_gradients_of_networks_of_the_library(name, arguments, of_layers, short_forms):
    network = nets.create(name, 3, **arguments)
    rng = np.random.default_rng(0)
    batch = dict(x=rng.normal(size=(N, 4, 4, 2)).astype(np.float32), y=np.arange(N) % 3)
    params, state = random_like(jax.eval_shape(
        lambda key, x: network.init(key, x, True), jax.random.key(0), batch["x"]), "float32")
    state = jax.tree.map(np.abs, state)  # variances are

    def losses(params, batch):
        outputs, _ = network.apply(params, state, None, batch["x"], False)
        return cross_entropy(outputs["logits"], batch["y"])

    layers = haiku_layers.find_layers(losses, params, batch)
    assert sum(len(layer.leaves) for layer in layers) == of_layers
    actual, rows = jax.jit(lambda p, b: (
        per_example.gradients(losses, p, b, layers), gradients(losses)(p, b)))(
            params, batch)
    np.testing.assert_allclose(actual @ actual.T, rows @ rows.T, rtol=0,
                               atol=1e-6 * np.max(rows @ rows.T))


def test_tied_weights():
    network = create_autoencoder((4, 3), "tanh", tied=True)
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(N, 6)))
        params = random_like(jax.eval_shape(network.init, jax.random.key(0), x), "float64")

        def losses(params, x):
            return jnp.sum((network.apply(params, x) - x) ** 2, -1)

        assert_is_gram(np.asarray(gram(losses, params, x)), gradients(losses)(params, x), 1e-12)


def test_dense_layer():
    """G = (A A^T) o (H H^T + 1) with the inputs h, and the gradients a of the outputs."""
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(N, 5)), rng.normal(size=(N, 3))
    params = dict(w=rng.normal(size=(5, 3)), b=rng.normal(size=3))

    def losses(params, batch):
        x, target = batch
        return 0.5 * jnp.sum((x @ params["w"] + params["b"] - target) ** 2, -1)

    residual = x @ params["w"] + params["b"] - target
    with jax.enable_x64(True):
        actual = gram(losses, params, (x, target))
    np.testing.assert_allclose(actual, (residual @ residual.T) * (x @ x.T + 1), rtol=1e-12)


def test_parts_cover_all_parameters_once():
    leaves = [np.zeros(shape) for shape in ((30, 40), (7,), (3, 3))]
    parts = gram_lib._parts((), leaves, 500)
    assert [(part.leaf, part.start, part.stop) for part in parts] == [
        (0, 0, 400), (0, 400, 800), (0, 800, 1200), (1, 0, 7), (2, 0, 9)]
    assert [sum(part.size for part in group) for group in gram_lib._group(parts, 500)] == [
        400, 400, 416]
