"""The networks and their signal propagation against an independent computation in float64."""

import jax
import numpy as np
import pytest
from scipy import special

from nfnets_jax import nets
from nfnets_jax.analysis import signal_propagation

RELU_GAMMA = 1.7139588594436646
SILU_GAMMA = 1.7881293296813965
# Inner widths of 2 and 4 make the clamp of the weights' variance matter.
BOTTLENECK = dict(
    widths=(8, 16), depths=(2, 2), strides=(1, 2), stem="imagenet", stem_width=6, bottleneck=True
)
BASIC = dict(
    widths=(6, 8), depths=(2, 2), strides=(1, 2), stem="cifar", stem_width=6, bottleneck=False
)


def pad_same(x, size, stride, value):
    pads = []
    for length in x.shape[1:3]:
        total = max((-(-length // stride) - 1) * stride + size - length, 0)
        pads.append((total // 2, total - total // 2))
    return np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)


def windows(x, size, stride, value):
    padded = pad_same(x, size, stride, value)
    height, width = (-(-length // stride) for length in x.shape[1:3])
    for i in range(size):
        for j in range(size):
            rows = slice(i, i + (height - 1) * stride + 1, stride)
            columns = slice(j, j + (width - 1) * stride + 1, stride)
            yield (i, j), padded[:, rows, columns]


def convolve(x, layer, stride):
    kernel = layer["w"]
    if "gain" in layer:
        fan_in = kernel[..., 0].size
        kernel = kernel - kernel.mean((0, 1, 2))
        norm_squared = np.maximum(fan_in * kernel.var((0, 1, 2)), 1e-4)
        kernel = layer["gain"] * kernel / np.sqrt(norm_squared)
    out = sum(window @ kernel[at] for at, window in windows(x, len(kernel), stride, 0.0))
    return out + layer.get("bias", 0.0) + layer.get("b", 0.0)


def normalize(x, layer):
    x = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    return x * layer["scale"][0, 0, 0] + layer["offset"][0, 0, 0]


def squared_mean_and_variance(x):
    return np.mean(x.mean((0, 1, 2)) ** 2), np.mean(x.var((0, 1, 2)))


def forward(block, params, images, values):
    """Returns logits, features and the three quantities of the plot."""
    relu = lambda x: np.maximum(x, 0.0)  # noqa: E731
    silu = lambda x: x * special.expit(x)  # noqa: E731
    act = dict(relu=relu, silu=silu)[values["activation"]]
    if block == "nf":
        gamma = dict(relu=RELU_GAMMA, silu=SILU_GAMMA)[values["activation"]]
        plain_act, act = act, lambda x: gamma * plain_act(x)

    def layer(name):
        return {k: np.asarray(v, np.float64) for k, v in params[f"{block}_resnet{name}"].items()}

    is_imagenet = values["stem"] == "imagenet"
    x = convolve(images.astype(np.float64), layer("/initial_conv"), 2 if is_imagenet else 1)
    if block == "fixup":
        x = act(x + layer("")["bias1"])
    if block == "bn_v1":
        x = act(normalize(x, layer("/initial_bn")))
    if is_imagenet:
        x = np.max([window for _, window in windows(x, 3, 2, -np.inf)], axis=0)
    outputs, branches = [squared_mean_and_variance(x)], []
    variance, index = 1.0, 0
    alpha = values.get("alpha", 1.0)
    for width, depth, stage_stride in zip(
        values["widths"], values["depths"], values["strides"], strict=True
    ):
        for i in range(depth):
            stride = stage_stride if i == 0 else 1
            transition = i == 0 and (stride > 1 or x.shape[-1] != width)
            name = f"/block_{index}"
            strides = [1, stride, 1] if values["bottleneck"] else [stride, 1]
            scalars = layer(name) if block not in ("bn", "bn_v1", "plain") else {}
            if block == "fixup":
                h = x + scalars["bias1a"]
                shortcut = convolve(h, layer(f"{name}/conv_shortcut"), stride) if transition else h
                f = h
                for j, s in enumerate(strides):
                    f = f if j == 0 else f + scalars[f"bias{j + 1}a"]
                    f = convolve(f, layer(f"{name}/conv{j}"), s)
                    if j < len(strides) - 1:
                        f = act(f + scalars[f"bias{j + 1}b"])
                f = f * scalars["scale"] + scalars[f"bias{len(strides)}b"]
                x = act(f + shortcut)
            elif block == "bn_v1":
                f, shortcut = x, x
                for j, s in enumerate(strides):
                    f = convolve(f if j == 0 else act(f), layer(f"{name}/conv{j}"), s)
                    f = normalize(f, layer(f"{name}/bn{j}"))
                if transition:  # without a projection: every other position, zeros for channels
                    shortcut = np.zeros_like(f)
                    shortcut[..., :x.shape[-1]] = x[:, ::stride, ::stride]
                x = act(f + shortcut)
            else:
                def activate(value, j, name=name):
                    return act(normalize(value, layer(f"{name}/bn{j}")) if block == "bn" else value)

                h = activate(x, 0) / np.sqrt(variance)
                shortcut = x
                if not values.get("use_skip", True):
                    shortcut = 0.0
                elif transition:
                    shortcut = convolve(h, layer(f"{name}/conv_shortcut"), stride)
                f = h
                for j, s in enumerate(strides):
                    f = convolve(f if j == 0 else activate(f, j), layer(f"{name}/conv{j}"), s)
                if values.get("use_se"):
                    fc0 = layer(f"{name}/squeeze_excite/fc0")
                    fc1 = layer(f"{name}/squeeze_excite/fc1")
                    hidden = relu(f.mean((1, 2)) @ fc0["w"] + fc0["b"])
                    gate = special.expit(hidden @ fc1["w"] + fc1["b"])[:, None, None]
                    f = (2.0 if block == "nf" else 1.0) * gate * f
                x = shortcut + alpha * scalars.get("skip_gain", 1.0) * f
            if block == "nf":
                variance = (1.0 if transition else variance) + alpha**2
            outputs.append(squared_mean_and_variance(x))
            branches.append(squared_mean_and_variance(f)[1])
            index += 1
    if block == "bn":
        x = normalize(x, layer("/final_bn"))
    features = (x if block in ("fixup", "bn_v1") else act(x)).mean((1, 2))
    pooled = features + (layer("")["bias2"] if block == "fixup" else 0.0)
    logits = pooled @ layer("/classifier")["w"] + layer("/classifier")["b"]
    squared_means, variances = zip(*outputs, strict=True)
    measured = dict(
        average_squared_mean=squared_means, average_variance=variances, residual_variance=branches
    )
    return logits, features, measured


def random_arrays(shapes, seed):
    """Random values for every parameter, so that none hides behind its initial 0 or 1."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        if path[-1].key == "w":
            fan_in = max(1, np.prod(leaf.shape[:-1]))
            return rng.normal(0.02, 1.3 / np.sqrt(fan_in), leaf.shape).astype(leaf.dtype)
        center = 1.0 if path[-1].key in ("gain", "scale", "skip_gain") else 0.0
        return rng.normal(center, 0.3, leaf.shape).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.mark.parametrize(
    "block, overrides",
    [
        ("nf", dict(BOTTLENECK, alpha=0.3, activation="silu", use_se=True)),
        ("nf", dict(BASIC, alpha=0.5)),
        ("skipinit", dict(BASIC, stem_bias=True)),
        ("fixup", BOTTLENECK),
        ("bn", dict(BASIC, use_se=True)),
        ("bn", dict(BASIC, use_skip=False)),
        ("bn_v1", dict(BASIC, use_projection=False)),
        ("plain", dict(BASIC, use_skip=False)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_agrees_with_an_independent_computation(block, overrides):
    name = f"{block}_resnet_digits"
    network = nets.create(name, 7, **overrides)
    # An odd size, so that SAME pads unevenly somewhere.
    images = np.random.default_rng(1).normal(0.3, 1.0, (4, 23, 23, 2)).astype(np.float32)
    shapes = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, True), images)
    params, state = random_arrays(shapes[0], 2), shapes[1]
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    values = {**nets.defaults(name), **overrides}
    logits, features, expected = forward(block, params, images, values)
    outputs, _ = network.apply(params, state, None, images, True)
    np.testing.assert_allclose(outputs["logits"], logits, rtol=1e-4, atol=1e-4 * np.std(logits))
    np.testing.assert_allclose(
        outputs["features"], features, rtol=1e-4, atol=1e-4 * np.std(features)
    )
    measured = signal_propagation.measure(network, params, state, images)
    assert len(expected["average_variance"]) == 5
    for quantity, values in expected.items():
        np.testing.assert_allclose(measured[quantity], values, rtol=1e-4, err_msg=quantity)
