"""The fields of a pretraining config, and the checks that need more than one of them."""

from typing import Any

from nfnets_jax import nets
from nfnets_jax.config import ConfigError, Fields, boolean, integer, number, text
from nfnets_jax.tasks import checks


def _mlp_fields() -> Fields:
    return {
        "hidden_size": integer(4096, 1, 2**20),
        "norm": text("batch", nets.NORMS),
        "num_groups": integer(16, 1, 2**20),
        "weight_standardization": boolean(False),
    }


def _view_fields(blur: float, solarize: float) -> Fields:
    """As in the released configuration of arXiv 2006.07733; the views differ in two numbers."""
    return {
        "flip_probability": number(0.5, 0, 1),
        "jitter_probability": number(0.8, 0, 1),
        "brightness": number(0.4, 0, 1),
        "contrast": number(0.4, 0, 1),
        "saturation": number(0.2, 0, 1),
        "hue": number(0.1, 0, 0.5),
        "grayscale_probability": number(0.2, 0, 1),
        "blur_probability": number(blur, 0, 1),
        "blur_sigma_min": number(0.1, 0, open_below=True),
        "blur_sigma_max": number(2.0, 0, open_below=True),
        "blur_kernel_fraction": number(0.1, 0, 1, open_below=True),
        "solarize_probability": number(solarize, 0, 1),
        "solarize_threshold": number(0.5, 0, 1),
    }


FIELDS: Fields = {
    **checks.BUDGET_FIELDS,
    "batch_size": integer(4096, 1, 2**20),
    "evaluation_batch_size": integer(1024, 1, 2**20),
    "accumulation_steps": integer(1, 1, 2**20),
    "precision": text("float32", tuple(checks.POLICIES)),
    "cross_replica_batch_norm": boolean(True),
    "calibration_size": integer(256, 2, 2**20),
    "network": checks.network_fields("bn_v1_resnet50"),
    "projector": {**_mlp_fields(), "output_size": integer(256, 1, 2**20)},
    "predictor": _mlp_fields(),
    "objective": {
        "name": text("byol", ("byol", "simclr")),
        "use_predictor": boolean(True),
        "temperature": number(0.1, 0, open_below=True),  # of simclr, which has no target
    },
    "target": {
        "decay": number(0.996, 0, 1),
        "schedule": text("cosine", ("cosine", "constant")),
    },
    "dataset": checks.dataset_fields("imagenet2012"),
    "augmentation": {
        "crop_on": text("host", ("host", "device")),
        "crop_min_area": number(0.08, 0, 1, open_below=True),
        "crop_max_area": number(1.0, 0, 1, open_below=True),
        "view_1": _view_fields(blur=1.0, solarize=0.0),
        "view_2": _view_fields(blur=0.1, solarize=0.2),
    },
    "optimizer": {
        "base_learning_rate": number(0.2, 0),  # for each 256 images of the batch
        "momentum": number(0.9, 0, 1, open_above=True),
        "weight_decay": number(1.5e-6, 0),
        "trust_coefficient": number(1e-3, 0, open_below=True),
        "excluded_multiplier": number(1.0, 0),
        "predictor_multiplier": number(1.0, 0),
    },
    "schedule": {**checks.SCHEDULE_FIELDS, "warmup_epochs": number(10.0, 0, 1e6)},
    "probe": {
        "bank_size": integer(20_000, 1),
        "neighbours": integer(20, 1, 10_000),
        "temperature": number(0.07, 0, open_below=True),
        "regularization": number(1e-3, 0, open_below=True),
        "num_views": integer(256, 2, 2**16),
    },
}


def check(config: dict[str, Any], device_count: int) -> dict[str, Any]:
    """Checks that the fields of a pretraining config fit together, and fills in defaults.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    info = checks.check_dataset(config["dataset"]["name"])
    config["network"] = checks.check_network(config["network"], None)
    checks.check_image_sizes(config, info.image_size)
    checks.check_batch(config, device_count)
    checks.check_budget(config, default_epochs=1000.0)
    checks.check_schedule(config)
    check_crop(config, info.image_size)
    for name in ("projector", "predictor"):
        part = config[name]
        if part["norm"] == "instance":
            raise ConfigError(f"{name}.norm='instance': would return its offset on vectors; use "
                              "layer or group")
        groups = min(part["num_groups"], part["hidden_size"])
        if part["norm"] == "group" and (
                part["hidden_size"] % groups or groups == part["hidden_size"]):
            raise ConfigError(
                f"{name}.num_groups={part['num_groups']}: must divide {name}.hidden_size="
                f"{part['hidden_size']} into groups of at least 2")
    for name in ("view_1", "view_2"):
        view = config["augmentation"][name]
        if view["blur_sigma_min"] > view["blur_sigma_max"]:
            raise ConfigError(
                f"augmentation.{name}.blur_sigma_min={view['blur_sigma_min']:g}: must not be above "
                f"blur_sigma_max={view['blur_sigma_max']:g}")
    return config


def check_crop(config: dict[str, Any], fixed_size: int | None) -> None:
    """Checks where images are cropped, and how much of them is left."""
    augmentation, name = config["augmentation"], config["dataset"]["name"]
    if augmentation["crop_on"] == "device" and fixed_size is None:
        raise ConfigError(
            f"augmentation.crop_on='device': the images of {name} differ in size; use host")
    if augmentation["crop_min_area"] > augmentation["crop_max_area"]:
        raise ConfigError(
            f"augmentation.crop_min_area={augmentation['crop_min_area']:g}: must not be above "
            f"crop_max_area={augmentation['crop_max_area']:g}")
    if augmentation["crop_on"] == "host" and augmentation["crop_max_area"] != 1.0:
        raise ConfigError(
            f"augmentation.crop_max_area={augmentation['crop_max_area']:g}: the host crops up to "
            "the whole image; use 1, or crop_on=device")
