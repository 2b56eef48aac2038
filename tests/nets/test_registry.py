import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import nets
from nfnets_jax.nets.layers import Tag
from nfnets_jax.nets.registry import resolve_plan

# Parameters with 1000 classes, counted from the authors' released code.
IMAGENET_TOTALS = {
    "nf_resnet50": 25_557_048,
    "nf_resnet101": 44_549_193,
    "nf_resnet152": 60_192_858,
    "nf_resnet200": 64_673_898,
    "nf_resnet288": 146_460_552,
    "nf_resnet600": 300_646_896,
    "skipinit_resnet50": 25_530_424,
    "fixup_resnet50": 25_504_026,
    "bn_resnet50": 25_549_352,
}
# Parameters with 10 classes, counted by hand from the definition of a Wide-ResNet: with batch
# normalization, and for SkipInit without and with biases.
WIDE_TOTALS = {
    "wrn_16_4": (2_748_890, 2_745_280, 2_747_536),
    "wrn_16_2": (691_674, 689_856, 690_992),
    "wrn_100_2": (6_123_226, 6_108_906, 6_116_314),
}


def parameter_total(name, num_classes, image_shape, **overrides):
    network = nets.create(name, num_classes, **overrides)
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    params, _ = jax.eval_shape(lambda k, x: network.init(k, x, True), jax.random.key(0), images)
    return hk.data_structures.tree_size(params)


@pytest.mark.parametrize("name", IMAGENET_TOTALS)
def test_parameter_totals_of_imagenet_networks(name):
    assert parameter_total(name, 1000, (64, 64, 3)) == IMAGENET_TOTALS[name]


@pytest.mark.parametrize("name", WIDE_TOTALS)
def test_parameter_totals_of_wide_resnets(name):
    shape = (32, 32, 3)
    assert (
        parameter_total(f"bn_{name}", 10, shape),
        parameter_total(f"skipinit_{name}", 10, shape),
        parameter_total(f"skipinit_{name}", 10, shape, conv_bias=True, stem_bias=True),
    ) == WIDE_TOTALS[name]
    num_blocks = len(resolve_plan(f"sqrt2_{name}", {})[1])
    without_gains = WIDE_TOTALS[name][1] - num_blocks
    assert parameter_total(f"sqrt2_{name}", 10, shape) == without_gains


# What arXiv 1904.06963 trains, Wide-ResNets without skips and norms; counted by hand (derived).
PLAIN_TOTALS = {
    (16, 2): 679_098, (22, 2): 1_066_170, (28, 2): 1_453_242, (34, 2): 1_840_314,
    (40, 2): 2_227_386, (52, 2): 3_001_530, (76, 2): 4_549_818, (100, 2): 6_098_106,
    (16, 3): 1_523_002, (16, 4): 2_703_290, (16, 5): 4_219_962, (16, 6): 6_073_018,
}


@pytest.mark.parametrize("depth, width", PLAIN_TOTALS)
def test_parameter_totals_of_wide_networks_without_skips(depth, width):
    name = f"plain_wrn_{depth}_{width}"
    assert parameter_total(name, 10, (32, 32, 3), use_skip=False) == PLAIN_TOTALS[depth, width]


def test_skips_and_norms_are_added_and_taken_away_one_by_one():
    # Shortcuts are three 1x1 convolutions; norms have two numbers for each channel they follow.
    totals = {(block, use_skip): parameter_total(f"{block}_wrn_16_2", 10, (32, 32, 3),
                                                 use_skip=use_skip)
              for block in ("plain", "bn") for use_skip in (False, True)}
    shortcuts = 16 * 32 + 32 * 64 + 64 * 128
    norms = 2 * (16 + 4 * 32 + 4 * 64 + 4 * 128)
    plain = PLAIN_TOTALS[16, 2]
    assert totals["plain", True] == plain + shortcuts
    assert totals["bn", True] - totals["bn", False] == shortcuts
    assert totals["bn", False] - plain == totals["bn", True] - plain - shortcuts == norms


def test_parameter_totals_of_residual_networks_for_cifar():
    # Of convolutions 0.848 M and 3.39 M, 55 of them each (arXiv 1706.02379, derived): without
    # shortcut convolutions. Beside them 2 numbers for each channel of a norm, and the classifier.
    def norms(k):
        return 2 * (16 + 18 * (16 + 32 + 64) * k)

    shape = (32, 32, 3)
    assert parameter_total("bn_v1_cifar_resnet56", 10, shape) == 848_304 + norms(1) + 650
    assert parameter_total("bn_v1_cifar_resnet56_2", 10, shape) == 3_387_312 + norms(2) + 1290
    projections = 16 * 32 + 32 * 64 + 2 * (32 + 64)
    assert parameter_total("bn_v1_cifar_resnet56", 10, shape, use_projection=True) == (
        848_304 + norms(1) + 650 + projections)


def test_parameter_total_of_the_deepest_wide_resnet():
    shape = (32, 32, 3)
    assert parameter_total("skipinit_wrn_1000_2", 10, shape) == 64_170_156
    assert parameter_total(
        "skipinit_wrn_1000_2", 10, shape, conv_bias=True, stem_bias=True) == 64_244_764


def test_digits_networks_have_about_300_thousand_parameters():
    for block in ("nf", "skipinit", "fixup", "bn"):
        total = parameter_total(f"{block}_resnet_digits", 10, (8, 8, 1))
        assert total == pytest.approx(300_000, rel=0.1)


@pytest.mark.parametrize(
    "name, overrides, size, stride",
    [
        ("nf_resnet50", {}, 64, 32),
        ("fixup_wrn_16_2", {}, 32, 4),
        ("bn_resnet_digits", {}, 8, 2),
        ("skipinit_resnet_digits", dict(stem="imagenet", strides=(2, 3)), 48, 24),
    ],
)
def test_total_stride_is_that_of_the_last_block(name, overrides, size, stride):
    assert nets.total_stride(name, **overrides) == stride
    network = nets.create(name, 10, **overrides)
    sizes = []

    def record(next_method, args, kwargs, context):
        output = next_method(*args, **kwargs)
        if isinstance(context.module, Tag) and context.method_name == "__call__":
            sizes.append(output.shape[1])
        return output

    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    with hk.intercept_methods(record):
        jax.eval_shape(lambda x: network.init(jax.random.key(0), x, True), images)
    assert sizes[-1] == size // stride


def test_bookkeeping_of_nf_resnet50():
    expected = nets.expected_variance("nf_resnet50")
    np.testing.assert_allclose(
        expected["average_variance"],
        [1, 1.04, 1.08, 1.12, 1.04, 1.08, 1.12, 1.16]
        + [1.04, 1.08, 1.12, 1.16, 1.20, 1.24, 1.04, 1.08, 1.12],
    )
    assert expected["residual_variance"] == [1.0] * 16
    network = nets.create("nf_resnet50", 10)
    expected_stds = {}

    def record(next_method, args, kwargs, context):
        if hasattr(context.module, "expected_std"):
            expected_stds[context.module.name] = context.module.expected_std
        return next_method(*args, **kwargs)

    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    with hk.intercept_methods(record):
        jax.eval_shape(lambda x: network.init(jax.random.key(0), x, True), images)
    # A transition block divides by what accumulated over the whole stage before it.
    np.testing.assert_allclose(
        np.square([expected_stds[f"block_{i}"] for i in range(16)]),
        [1, 1.04, 1.08, 1.12, 1.04, 1.08, 1.12, 1.16]
        + [1.04, 1.08, 1.12, 1.16, 1.20, 1.24, 1.04, 1.08],
    )


def test_expected_variance_of_batch_norm_is_the_half_normal_recursion():
    expected = nets.expected_variance("bn_wrn_16_1", weight_init="he")
    slope, squared_mean = 1 - 1 / np.pi, 1 / np.pi
    # With k = 1 the first stage has the stem's width, so that its first block is no transition.
    steps = np.array([0, 1, 2, 2, 3, 2, 3])
    variance = slope * steps + np.array([2, 2, 2, 0, 0, 0, 0])
    np.testing.assert_allclose(expected["average_variance"], variance, rtol=1e-6)
    np.testing.assert_allclose(expected["average_squared_mean"], squared_mean * steps, rtol=1e-6)
    np.testing.assert_allclose(expected["residual_variance"], [slope] * 6, rtol=1e-6)
    lecun = nets.expected_variance("bn_wrn_16_1")
    np.testing.assert_allclose(lecun["residual_variance"], [slope * 0.7737413 / 2] * 6, rtol=1e-6)


def test_no_prediction_where_there_is_no_closed_form():
    assert nets.expected_variance("skipinit_resnet50") is None
    assert nets.expected_variance("fixup_resnet50") is None
    assert nets.expected_variance("nf_resnet50", weight_standardization=False) is None
    assert nets.expected_variance("bn_resnet50", use_se=True) is None
    assert np.isnan(nets.expected_variance("bn_resnet50")["average_variance"][0])


def test_wide_resnet_has_a_block_for_each_six_layers():
    for depth, blocks in ((10, 3), (16, 6), (28, 12), (1000, 498)):
        assert len(resolve_plan(f"nf_wrn_{depth}_2", {})[1]) == blocks


@pytest.mark.parametrize(
    "name, message",
    [
        ("nf_resnet51", "network 'nf_resnet51' is unknown; nearest: .*nf_resnet50"),
        ("nf_wrn_17_4", "depth 17 is not 6 b \\+ 4"),
        ("nf_wrn_4_4", "depth 4 is not 6 b \\+ 4"),
        ("bn_v1_cifar_resnet58", "depth 58 is not 6 b \\+ 2"),
        ("bn_cifar_resnet2_1", "depth 2 is not 6 b \\+ 2"),
        ("nf_wrn_16", "network 'nf_wrn_16' is unknown; nearest: .*nf_wrn_16_"),
        ("nf_resnet_50", "network 'nf_resnet_50' is unknown; nearest: .*nf_resnet50"),
        ("nf_wrn16_4", "network 'nf_wrn16_4' is unknown; nearest: .*nf_wrn_16_4"),
        ("nfresnet", "network 'nfresnet' is unknown"),
        (None, "network None is unknown"),
    ],
)
def test_unknown_names_are_answered_with_near_ones(name, message):
    for function in (nets.defaults, nets.total_stride, nets.expected_variance):
        with pytest.raises(ValueError, match=message):
            function(name)
    with pytest.raises(ValueError, match=message):
        nets.create(name, 10)


@pytest.mark.parametrize(
    "name, overrides, message",
    [
        ("nf_resnet50", dict(alfa=0.1), "no argument 'alfa'; nearest: alpha"),
        ("bn_resnet50", dict(alpha=0.1), "network 'bn_resnet50' has no argument 'alpha'"),
        ("nf_resnet50", dict(alpha=-0.1), "alpha=-0.1 .* a number of at least 0"),
        ("nf_resnet50", dict(alpha="0.2"), "alpha='0.2' .* a number"),
        ("nf_resnet50", dict(alpha=float("nan")), "alpha=nan"),
        ("nf_resnet50", dict(dropout_rate=1.0), "dropout_rate=1.0 .* below 1"),
        ("nf_resnet50", dict(stochastic_depth_rate=-0.1), "stochastic_depth_rate=-0.1"),
        ("nf_resnet50", dict(activation="swish"), "activation='swish' .* 'silu'"),
        ("nf_resnet50", dict(use_se=1), "use_se=1 .* True or False"),
        ("nf_resnet50", dict(se_ratio=0), "se_ratio=0 .* above 0"),
        ("nf_resnet50", dict(skip_gain_init=None), "skip_gain_init=None .* a finite number"),
        ("nf_resnet50", dict(widths=(64, -1, 2, 3)), r"widths=\(64, -1, 2, 3\)"),
        ("nf_resnet50", dict(widths=()), r"widths=\(\)"),
        ("nf_resnet50", dict(depths=3), "depths=3 .* a list of whole numbers"),
        ("nf_resnet50", dict(depths=(1, 1.5, 1, 1)), "depths"),
        ("nf_resnet50", dict(depths=(1, 1)), r"depths=\(1, 1\).*same length"),
        ("nf_resnet50", dict(widths=(2, 4, 8, 8)), "inner width"),
        ("nf_resnet50", dict(stem="none"), "stem='none' .* one of 'imagenet', 'cifar'"),
        ("skipinit_resnet50", dict(weight_init="xavier"), "weight_init='xavier' .* 'he', 'lecun'"),
        ("bn_resnet50", dict(bn_decay_rate=1), "bn_decay_rate=1 "),
        ("plain_resnet50", dict(use_skip=False, stochastic_depth_rate=0.1),
         "stochastic_depth_rate=0.1 is not allowed with use_skip=False.*; use 0"),
        ("bn_resnet50", dict(cross_replica_axis=0), "cross_replica_axis=0 .* name of an axis"),
    ],
)
def test_wrong_overrides_are_refused_before_anything_is_traced(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        nets.create(name, 10, **overrides)
    with pytest.raises(ValueError, match=message):
        nets.total_stride(name, **overrides)


@pytest.mark.parametrize("num_classes", [0, -1, 2.5, True])
def test_wrong_number_of_classes_is_refused(num_classes):
    with pytest.raises(ValueError, match="num_classes=.* a whole number of at least 1"):
        nets.create("nf_resnet50", num_classes)


def test_every_name_has_acceptable_defaults():
    assert nets.names() == sorted(set(nets.names())) and len(nets.names()) == 199
    for name in nets.names():
        nets.create(name, 10, **nets.defaults(name))


@pytest.mark.parametrize("images", [np.zeros((8, 8, 1), np.float32), np.zeros((2, 8, 8, 1), int)])
def test_images_of_wrong_rank_or_dtype_are_refused(images):
    network = nets.create("nf_resnet_digits", 10)
    with pytest.raises(ValueError, match=r"images must be a floating-point array \[N, H, W, C\]"):
        network.init(jax.random.key(0), images, True)
