"""Every variant that a recipe's docstring lists is a valid config, with the numbers of its row."""

import importlib

import pytest

from nfnets_jax.config import check_config

RESNETS = [f"{block}_resnet{depth}" for block in ("nf", "bn", "skipinit", "fixup")
           for depth in (50, 101, 152, 200, 288)]
VARIANTS = {
    "nf_resnets.imagenet": [*RESNETS, *(f"{name},regularized" for name in RESNETS)],
    "nf_resnets.small_batch": [f"{block}_resnet50,{batch}" for block in ("nf", "bn")
                               for batch in (1024, 8, 4)],
    "nf_resnets.nf_regnet": [f"nf_regnet_b{k}{option}" for k in range(6)
                             for option in ("", ",plain")],
    "nf_resnets.digits_small_batch": ["nf_resnet_digits,128", "bn_resnet_digits,2"],
    "nfnets.imagenet": [f"nfnet_f{k}{plus}" for k in range(8) for plus in ("", "+")] + [
        "nfnet_f6,sam"],
    "nfnets.batch_size": [f"{network},{batch}{option}"
                          for network in ("nf_resnet50", "bn_resnet200")
                          for batch in (256, 512, 1024, 2048, 4096) for option in ("", ",agc")],
    "nfnets.digits": ["plain", "sam"],
    "nfnets.digits_batch_size": ["nf_resnet_digits,16", "nf_resnet_digits,1024,agc"],
}


def config_of(file, variant):
    return importlib.import_module(f"experiments.{file}").get_config(variant)


@pytest.mark.parametrize("file, variant", [
    (file, variant) for file, variants in VARIANTS.items() for variant in variants])
def test_variant_is_a_valid_config(file, variant):
    config = check_config(config_of(file, variant), device_count=1)
    if "," in variant and variant.split(",")[1].isdigit():
        assert config["batch_size"] == int(variant.split(",")[1])


@pytest.mark.parametrize("file, variant", [
    ("nf_resnets.imagenet", "nf_resnet50,reg"), ("nf_resnets.small_batch", "nf_resnet50"),
    ("nf_resnets.nf_regnet", "nf_regnet_b0,mixup"), ("nf_resnets.digits_small_batch", "bn"),
    ("nfnets.imagenet", "nf_resnet50"), ("nfnets.imagenet", "nfnet_f6,SAM"),
    ("nfnets.batch_size", "nf_resnet50"), ("nfnets.batch_size", "nf_resnet50,1000"),
    ("nfnets.digits", "agc"), ("nfnets.digits_batch_size", "nf_resnet_digits,16,clip"),
])
def test_wrong_variant_is_refused_with_what_to_use(file, variant):
    with pytest.raises(ValueError, match="use "):
        config_of(file, variant)


def test_released_recipes():
    config = check_config(config_of("nfnets.imagenet", "nfnet_f3"), device_count=1)
    assert config["dataset"]["image_size"] == 320
    assert config["dataset"]["evaluation_image_size"] == 416
    assert config["dataset"]["evaluation_crop"] == "resize_crop"
    assert config["network"]["dropout_rate"] == 0.4
    assert config["network"]["stochastic_depth_rate"] == 0.25
    assert config["augmentation"]["randaugment_magnitude"] == 15
    assert config["optimizer"]["learning_rate"] == 0.1 * 4096 / 256
    config = check_config(config_of("nf_resnets.nf_regnet", "nf_regnet_b2"), device_count=1)
    assert (config["dataset"]["image_size"], config["dataset"]["evaluation_image_size"]) == (
        240, 272)
    assert config["optimizer"]["weight_decay"] == 7e-5
    learning_rate = config["optimizer"]["learning_rate"]
    assert learning_rate * config["schedule"]["final_fraction"] == pytest.approx(0.001)
    config = check_config(config_of("nf_resnets.small_batch", "bn_resnet50,4"), device_count=1)
    assert config["optimizer"]["learning_rate"] == pytest.approx(0.4 / 256)
