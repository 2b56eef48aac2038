import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import nets
from nfnets_jax.weights import naming

NETWORKS = [
    ("nf_resnet50", {}), ("nf_seresnet50", {}), ("nf_regnet_b1", {}), ("nfnet_f0", {}),
    ("nfnet_f1+", {}), ("timm_nf_resnet50", {}), ("timm_nf_seresnet26", {}),
    ("timm_nf_ecaresnet26", {}), ("timm_nf_regnet_b1", {}), ("timm_eca_nfnet_l0", {}),
    ("timm_nfnet_l0", {}), ("nfnet_digits", {}), ("nf_regnet_digits", {}), ("nf_wrn_16_2", {}),
    ("nf_resnet_digits", {"use_skip_gain": False}), ("nfnet_digits", {"use_two_convs": False}),
]


@pytest.mark.parametrize("name,overrides", NETWORKS)
def test_lists_the_parameters_that_the_network_makes(name, overrides):
    network = nets.create(name, 7, **overrides)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    made, _ = jax.eval_shape(lambda k, x: network.init(k, x, False), jax.random.key(0), images)
    listed = {(p.module, p.name): p.shape for p in naming.parameters(name, 7, 3, **overrides)}
    assert listed == {(module, key): value.shape
                      for module, key, value in hk.data_structures.traverse(made)}


def test_the_authors_and_timms_names_are_theirs():
    # Read off the released code's parameter tree, and off timm's state dict.
    names = {p.names["haiku"]: p.names["timm"] for p in naming.parameters("nfnet_f0", 1000)}
    assert len(names) == 233  # 57 convolutions, 25 linear layers, 12 skip gains
    assert names["NFNet/~/stem_conv3/gain"] == "stem.conv4.gain"
    assert names["NFNet/~/nf_block/skip_gain"] == "stages.0.0.skipinit_gain"
    assert names["NFNet/~/nf_block_4/~/conv1b/w"] == "stages.2.1.conv2b.weight"
    assert names["NFNet/~/nf_block_9/~/conv_shortcut/bias"] == "stages.3.0.downsample.conv.bias"
    assert (names["NFNet/~/nf_block_2/~/squeeze_excite/~/linear_1/w"]
            == "stages.1.1.attn_last.fc2.weight")
    assert names["NFNet/~/linear/b"] == "head.fc.bias"
    names = {p.names["haiku"]: p.names["timm"] for p in naming.parameters("nf_regnet_b0", 1000)}
    assert (names["NF_RegNet/~/nf_block_1/~/squeeze_excite/~/linear/b"]
            == "stages.1.0.attn.fc1.bias")
    names = {p.names["haiku"] for p in naming.parameters("nf_resnet50", 1000)}
    assert "NF_ResNet/~/nf_res_block_15/~/conv0/gain" in names


@pytest.mark.parametrize("name", ["nfnet_digits", "timm_nf_ecaresnet26"])
def test_timms_layout_is_a_transposition_that_can_be_undone(name):
    rng = np.random.default_rng(0)
    for p in naming.parameters(name, 3):
        array = rng.standard_normal(p.shape).astype(np.float32)
        stored = p.to_timm(array)
        assert stored.shape == p.stored_shape("timm")
        np.testing.assert_array_equal(p.from_layout(stored, "timm"), array)
        if p.kind == "conv":
            assert stored[1, 0, -1, -1] == array[-1, -1, 0, 1]
        if p.kind == "linear":
            assert stored[1, 2].item() == array[2, 1]


def test_other_kinds_of_networks_are_refused():
    with pytest.raises(ValueError, match="'bn_resnet50' is not normalizer-free"):
        naming.parameters("bn_resnet50", 10)
