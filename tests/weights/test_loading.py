import collections
import json
import zipfile

import haiku as hk
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from nfnets_jax import nets, weights
from tests.weights import files


def assert_equal(found, expected):
    flat = {(m, n): a for m, n, a in hk.data_structures.traverse(found)}
    wanted = {(m, n): a for m, n, a in hk.data_structures.traverse(expected)}
    assert flat.keys() == wanted.keys()
    for key, array in flat.items():
        assert array.dtype == np.float32 and array.flags.aligned and array.flags.c_contiguous
        np.testing.assert_array_equal(array, wanted[key], err_msg=str(key))


@pytest.mark.parametrize("network", [
    "nfnet_digits", "nf_regnet_digits", "nf_resnet_digits", "nf_wrn_16_2", "timm_nf_ecaresnet26"])
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path, network):
    params = files.random_params(network)
    weights.save(tmp_path / "w.safetensors", params, network=network)
    loaded, state = weights.load(tmp_path / "w.safetensors", network=network)
    assert state == {}
    assert_equal(loaded, params)


def test_saved_files_are_timms(tmp_path):
    params = files.random_params("nfnet_digits", channels=1)
    weights.save(tmp_path / "w", params, network="nfnet_digits")
    arrays = safetensors.numpy.load_file(tmp_path / "w")
    conv = params["nfnet/block_1/conv1"]
    np.testing.assert_array_equal(
        arrays["stages.1.0.conv2.weight"], conv["w"].transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(arrays["stages.1.0.conv2.gain"][:, 0, 0, 0], conv["gain"])
    assert arrays["stages.1.1.attn_last.fc1.weight"].shape == (32, 64, 1, 1)
    assert arrays["stages.1.1.skipinit_gain"].shape == ()
    with safetensors.safe_open(tmp_path / "w", "numpy") as file:
        metadata = file.metadata()
    assert metadata["network"] == "nfnet_digits" and metadata["arguments"] == "{}"
    assert json.loads(metadata["preprocessing"])["image_size"] == 8


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("numpy_version", [1, 2])
def test_the_authors_pickles(tmp_path, protocol, numpy_version):
    params = files.random_params("nf_regnet_digits")
    tree = files.haiku_tree("nf_regnet_digits", params)
    tree["NF_RegNet/~/linear"]["w"] = np.asfortranarray(tree["NF_RegNet/~/linear"]["w"])
    data = files.pickled(collections.OrderedDict(tree), protocol)
    core = {1: b"core", 2: b"_core"}[numpy_version]
    if protocol < 4:  # names are lines
        data = data.replace(b"cnumpy._core.", b"cnumpy." + core + b".")
    elif numpy_version == 1:
        for module in (b"multiarray", b"numeric"):
            old = b"numpy._core." + module
            new = b"numpy.core." + module
            data = data.replace(bytes([len(old)]) + old, bytes([len(new)]) + new)
        # One byte fewer in the one frame that holds the name.
        data = data.replace(b"\x95" + data[3:11], b"\x95" + b"\x00" * 8, 1)
    (tmp_path / "w.npz").write_bytes(data)
    loaded, _ = weights.load(tmp_path / "w.npz", network="nf_regnet_digits")
    assert_equal(loaded, params)


def test_jax_arrays_haiku_mappings_and_numpy_scalars_in_pickles(tmp_path):
    params = files.random_params("nfnet_digits")
    tree = files.haiku_tree("nfnet_digits", params)
    tree["NFNet/~/stem_conv0"] = tree.pop("NFNet/~/initial_conv")
    tree["NFNet/~/initial_conv"] = {
        key: jnp.asarray(value) for key, value in tree.pop("NFNet/~/stem_conv0").items()}
    tree["NFNet/~/nf_block"]["skip_gain"] = np.float32(params["nfnet/block_0"]["skip_gain"])
    (tmp_path / "w").write_bytes(files.pickled(tree))
    assert_equal(weights.load(tmp_path / "w", network="nfnet_digits")[0], params)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("kind", ["pickle", "safetensors", "torch"])
def test_half_precision_is_cast(tmp_path, dtype, kind):
    params = files.random_params("nf_regnet_digits")
    rounded = {m: {n: a.astype(dtype) for n, a in v.items()} for m, v in params.items()}
    path = tmp_path / "w"
    if kind == "pickle":
        path.write_bytes(files.pickled(files.haiku_tree("nf_regnet_digits", rounded)))
        network, overrides = "nf_regnet_digits", {}
    else:
        network = "nf_regnet_digits"
        overrides = dict(padding="symmetric", gamma_in="weights")
        arrays = files.timm_arrays(network, rounded)
        if kind == "safetensors":
            safetensors.numpy.save_file(arrays, path)
        else:
            storage = "HalfStorage" if dtype == np.float16 else "BFloat16Storage"
            files.write_torch_zip(path, arrays, storage=storage)
    loaded, _ = weights.load(path, network=network, **overrides)
    assert_equal(loaded, {m: {n: a.astype(np.float32) for n, a in v.items()}
                          for m, v in rounded.items()})


@pytest.mark.parametrize("wrapper,prefix", [
    (None, ""), ("state_dict", ""), ("state_dict", "module."), ("model", "")])
def test_torch_state_dicts(tmp_path, wrapper, prefix):
    params = files.random_params("timm_nf_resnet26", num_classes=3)
    arrays = files.timm_arrays("timm_nf_resnet26", params, num_classes=3)
    # Stored transposed, as channels_last models are.
    arrays["stem.conv.weight"] = arrays["stem.conv.weight"].transpose(0, 2, 3, 1).copy().transpose(
        0, 3, 1, 2)
    arrays = {prefix + name: array for name, array in arrays.items()}
    files.write_torch_zip(tmp_path / "w.pth", arrays, wrapper=wrapper)
    loaded, _ = weights.load(tmp_path / "w.pth", network="timm_nf_resnet26")
    for module in loaded.values():
        for name, array in module.items():
            module[name] = np.ascontiguousarray(array).reshape(array.shape)
    assert_equal(loaded, params)


def test_double_precision_is_rounded_to_single(tmp_path):
    params = files.random_params("nfnet_digits")
    tree = {module: {name: array.astype(np.float64) for name, array in values.items()}
            for module, values in files.haiku_tree("nfnet_digits", params).items()}
    (tmp_path / "w").write_bytes(files.pickled(tree))
    assert_equal(weights.load(tmp_path / "w", network="nfnet_digits")[0], params)


def test_every_difference_is_listed_at_once(tmp_path):
    params = files.random_params("nfnet_digits")
    tree = files.haiku_tree("nfnet_digits", params)
    del tree["NFNet/~/nf_block_1/~/conv1"]["gain"]
    tree["NFNet/~/linear"]["w"] = np.zeros((7, 5), np.float32)
    tree["NFNet/~/final_conv"]["bias"] = np.zeros(128, np.int32)
    tree["NFNet/~/more"] = {"w": np.zeros((2, 3), np.float32)}
    (tmp_path / "w").write_bytes(files.pickled(tree))
    with pytest.raises(ValueError) as caught:
        weights.load(tmp_path / "w", network="nfnet_digits")
    for words in (str(tmp_path / "w"), "holds no weights of nfnet_digits",
                  "missing NFNet/~/nf_block_1/~/conv1/gain [32]",
                  "unexpected NFNet/~/more/w [2, 3]",
                  "NFNet/~/linear/w has shape [7, 5] instead of [128, 5]",
                  "NFNet/~/final_conv/bias has dtype int32 instead of float32"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_network_that_the_file_fits_is_named(tmp_path):
    arrays = {name: np.zeros(array.shape, np.float16) for name, array in files.timm_arrays(
        "timm_nf_resnet26", files.random_params("timm_nf_resnet26")).items()}
    safetensors.numpy.save_file(arrays, tmp_path / "w")
    with pytest.raises(ValueError, match=r"missing stages.0.0.skipinit_gain \[\].*"
                                         "fits 'timm_nf_resnet26': use that network"):
        weights.load(tmp_path / "w", network="nf_resnet26")
    # The names and shapes of these agree; what is computed with them does not.
    with pytest.raises(ValueError, match="pad symmetrically.* fits 'timm_nf_resnet26'"):
        weights.load(tmp_path / "w", network="nf_resnet26", use_skip_gain=False)
    with pytest.raises(ValueError, match=r"head.fc.bias has shape \[5\] instead of \[9\]"):
        weights.load(tmp_path / "w", network="timm_nf_resnet26", num_classes=9)


def test_saved_weights_are_refused_as_those_of_another_function(tmp_path):
    params = files.random_params("nfnet_digits")
    weights.save(tmp_path / "w", params, network="nfnet_digits", activation="silu",
                 dropout_rate=0.5)
    with pytest.raises(ValueError, match="saved from 'nfnet_digits' with arguments "
                                         "{'activation': 'silu'}"):
        weights.load(tmp_path / "w", network="nfnet_digits")
    assert_equal(weights.load(tmp_path / "w", network="nfnet_digits", activation="silu")[0], params)


def test_the_authors_weights_are_not_for_timms_function(tmp_path):
    params = files.random_params("nfnet_digits")
    (tmp_path / "w").write_bytes(files.pickled(files.haiku_tree("nfnet_digits", params)))
    with pytest.raises(ValueError, match="SAME padding.* fits 'nfnet_digits'"):
        weights.load(tmp_path / "w", network="nfnet_digits", padding="symmetric",
                     gamma_in="weights")


def test_loaded_weights_give_the_outputs_of_the_saved_ones(tmp_path):
    network = nets.create("nfnet_digits", 5)
    params = files.random_params("nfnet_digits")
    images = jnp.asarray(np.random.default_rng(1).standard_normal((2, 8, 8, 3)), jnp.float32)
    weights.save(tmp_path / "w", params, network="nfnet_digits")
    loaded, state = weights.load(tmp_path / "w", network="nfnet_digits")
    before, _ = network.apply(params, {}, None, images, False)
    after, _ = network.apply(loaded, state, None, images, False)
    np.testing.assert_array_equal(before["logits"], after["logits"])
    assert np.std(after["logits"]) > 0.1


def test_a_failed_save_leaves_the_old_file(tmp_path):
    (tmp_path / "w").write_text("old")
    params = files.random_params("nfnet_digits")
    params["nfnet/classifier"]["w"] = params["nfnet/classifier"]["w"].astype(np.float64)
    del params["nfnet/block_0"]
    with pytest.raises(ValueError, match=r"missing nfnet/block_0/skip_gain; nfnet/classifier/w is "
                                         r"float64 \[128, 5\] instead of float32 \[128, 5\]"):
        weights.save(tmp_path / "w", params, network="nfnet_digits")
    assert [f.name for f in tmp_path.iterdir()] == ["w"]
    assert (tmp_path / "w").read_text() == "old"


@pytest.mark.parametrize("data,words", [
    (b"", "the file is empty"),
    (b"hello, world, hello", "neither a pickle, nor safetensors"),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "format from before 1.6"),
    (b"\x50\x00\x00\x00\x00\x00\x00\x00{\"a\"", "damaged or cut off"),
    (b"PK\x03\x04 not a zip file", "zip archive is damaged"),
])
def test_other_files_are_refused_in_words(tmp_path, data, words):
    (tmp_path / "w").write_bytes(data)
    with pytest.raises(ValueError, match=words):
        weights.load(tmp_path / "w", network="nfnet_digits")


def test_compressed_archives_are_refused(tmp_path):
    files.write_torch_zip(tmp_path / "w", {"a": np.zeros(9, np.float32)},
                          compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="compressed"):
        weights.load(tmp_path / "w", network="nfnet_digits")


def test_preprocessing_is_that_of_the_published_evaluations():
    how = weights.preprocessing("nfnet_f0")
    assert how[2:5] == (256, "squash", 288) and how[6:] == ("bicubic", "same")
    np.testing.assert_allclose(how.mean, (123.675, 116.28, 103.53))
    np.testing.assert_allclose(how.std, (58.395, 57.12, 57.375))
    how = weights.preprocessing("timm_nf_resnet50")
    assert how[2:] == (288, "short_side", 306, 0.94, "bicubic", "symmetric")
    assert weights.preprocessing("timm_eca_nfnet_l2")[2:6] == (384, "short_side", 384, 1.0)
    assert weights.preprocessing("timm_nf_regnet_b1")[2:6] == (288, "short_side", 320, 0.9)
    assert weights.preprocessing("nfnet_f0", 64)[2:5] == (64, "squash", 96)


def test_prepared_images_are_the_centre_of_the_resized_ones():
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, 100:] = 255
    how = weights.preprocessing("nfnet_f0", 64)
    x = weights.prepare(image, how) * np.float32(how.std) + np.float32(how.mean)
    assert x.shape == (64, 64, 3) and x.dtype == np.float32
    np.testing.assert_allclose(x[:, :28], 0, atol=1e-3)
    np.testing.assert_allclose(x[:, 36:], 255, atol=1e-3)
    # 16 of 96 pixels are cut off each side of the squashed image, and more of an unsquashed one.
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (100, 1, 3))
    squashed = weights.prepare(ramp, how) * np.float32(how.std) + np.float32(how.mean)
    np.testing.assert_allclose(squashed[0, 0], 200 * 16.5 / 96 - 0.5, atol=1.5)
    how = weights.preprocessing("timm_nf_regnet_b1", 90)
    kept = weights.prepare(ramp, how) * np.float32(how.std) + np.float32(how.mean)
    np.testing.assert_allclose(kept[0, [0, -1], 0], [55, 144], atol=1.5)
