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
    "byol.imagenet": [
        *(f"{epochs},batch" for epochs in (40, 100, 300, 1000)), "1000,group_ws",
        "1000,calibrated", *(f"300,{a}/{b}/{c}" for a in ("batch", "none")
                             for b in ("batch", "none") for c in ("batch", "none")),
        "300,layer", "300,instance/batch/batch", "300,simclr:batch", "300,simclr:none",
        *(f"300,batch,{64 * 2**k}" for k in range(7)),
        *(f"1000,batch,4096,{name}" for name in ("resnet50x2", "resnet50x4", "resnet200x2"))],
    "byol.imagenette": ["batch", "group_ws"],
    "byol.digits": ["batch", "group_ws", "none,batch,batch", "simclr:none"],
    "nfnets.digits": ["plain", "sam"],
    "nfnets.digits_batch_size": ["nf_resnet_digits,16", "nf_resnet_digits,1024,agc"],
    "skipinit.digits_depth": ["6+48", "250"],
    "skipinit.wide_resnet": [f"{block}_wrn_{depth}_{width}" for block in (
        "bn", "skipinit", "sqrt2", "plain", "fixup", "nf") for depth, width in ((16, 4), (100, 2))],
    "skipinit.wide_resnet_depth": ["16", "16+100+1000"],
    "skipinit.resnet": ["50", "101"],
}


def config_of(file, variant):
    return importlib.import_module(f"experiments.{file}").get_config(variant)


@pytest.mark.parametrize("file, variant", [
    (file, variant) for file, variants in VARIANTS.items() for variant in variants])
def test_variant_is_a_valid_config(file, variant):
    config = check_config(config_of(file, variant), device_count=1)
    if file != "byol.imagenet" and "," in variant and variant.split(",")[1].isdigit():
        assert config["batch_size"] == int(variant.split(",")[1])


@pytest.mark.parametrize("file, variant", [
    ("nf_resnets.imagenet", "nf_resnet50,reg"), ("nf_resnets.small_batch", "nf_resnet50"),
    ("nf_resnets.nf_regnet", "nf_regnet_b0,mixup"), ("nf_resnets.digits_small_batch", "bn"),
    ("nfnets.imagenet", "nf_resnet50"), ("nfnets.imagenet", "nfnet_f6,SAM"),
    ("nfnets.batch_size", "nf_resnet50"), ("nfnets.batch_size", "nf_resnet50,1000"),
    ("byol.imagenet", "200,batch"), ("byol.imagenet", "300,batch/none"),
    ("byol.imagenet", "300,batch,4096,resnet18"), ("byol.digits", "bn"),
    ("nfnets.digits", "agc"), ("nfnets.digits_batch_size", "nf_resnet_digits,16,clip"),
    ("skipinit.digits_depth", "6,48"), ("skipinit.wide_resnet_depth", "50"),
    ("skipinit.resnet", "152"),
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


@pytest.mark.parametrize("epochs, steps, peak", [
    (40, 12_511, 7.2), (100, 31_278, 7.2), (300, 93_835, 4.8), (1000, 312_784, 3.2)])
def test_byol_s_presets_have_the_released_lengths_and_rates(epochs, steps, peak):
    config = check_config(config_of("byol.imagenet", f"{epochs},batch"), device_count=8)
    assert int(epochs * 1_281_167 / config["batch_size"]) == steps
    rate = config["optimizer"]["base_learning_rate"] * config["batch_size"] / 256
    assert rate == pytest.approx(peak)
    wide = check_config(config_of("byol.imagenet", "1000,batch,4096,resnet200x2"), device_count=8)
    assert wide["network"]["widths"] == [512, 1024, 2048, 4096]
    assert wide["network"]["stem_width"] == 128
