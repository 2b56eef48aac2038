"""The fields of a classification config, and the checks that need more than one of them."""

from collections.abc import Mapping
from typing import Any

import jmp

from nfnets_jax import data, nets, optim
from nfnets_jax.config import (
    ConfigError,
    anything_like,
    boolean,
    integer,
    number,
    text,
    unknown_field,
)

# The names of `precision`: the dtype of the network's activations; parameters stay float32.
POLICIES = {
    "float32": jmp.get_policy("float32"),
    "bfloat16": jmp.get_policy("params=float32,compute=bfloat16,output=float32"),
}


def _network_fields():
    overrides = {}
    for name in nets.names():
        for key, value in nets.defaults(name).items():
            overrides.setdefault(key, anything_like(value))
    # Which axis batch statistics are averaged over is decided by the task, not by the config.
    overrides.pop("cross_replica_axis", None)
    return {"name": text("nf_resnet50"), **overrides}


FIELDS = {
    "num_epochs": number(90.0, 0, 1e6, open_below=True),
    "batch_size": integer(1024, 1, 2**20),
    "evaluation_batch_size": integer(1024, 1, 2**20),
    "accumulation_steps": integer(1, 1, 2**20),
    "precision": text("float32", tuple(POLICIES)),
    "label_smoothing": number(0.1, 0, 1, open_above=True),
    "ema_decay": number(0.0, 0, 1, open_above=True),
    "cross_replica_batch_norm": boolean(True),
    "network": _network_fields(),
    "dataset": {
        "name": text("digits"),
        "data_dir": text(None),
        "image_size": integer(None, 1, 2**14),
        "train_split": text("train"),
        "evaluation_split": text("test"),
        "evaluation_image_size": integer(None, 1, 2**14),
        "evaluation_crop": text("crop_resize", data.EVALUATION_CROPS),
        "random_resized_crop": boolean(False),
        "crop_padding": integer(0, 0, 2**10),
        "flip": boolean(False),
        "loader_threads": integer(8, 1, 1024),
    },
    "augmentation": {
        "mixup_alpha": number(0.0, 0),
        "cutmix": boolean(False),
        "randaugment_layers": integer(0, 0, 100),
        "randaugment_magnitude": number(10.0, 0, 30),
        "translate_pixels": number(100.0, 0),
        "cutout_pixels": number(40.0, 0),
    },
    "optimizer": {
        "learning_rate": number(0.4, 0),
        "momentum": number(0.9, 0, 1, open_above=True),
        "nesterov": boolean(True),
        "weight_decay": number(5e-5, 0),
        "agc_clipping": number(0.0, 0),
        "agc_eps": number(1e-3, 0, open_below=True),
        "sam_rho": number(0.0, 0),
        "sam_fraction": number(1.0, 0, 1, open_below=True),
    },
    "schedule": {
        "name": text("cosine", tuple(optim.SCHEDULES)),
        "warmup_epochs": number(5.0, 0, 1e6),
        "final_fraction": number(0.0, 0, 1),
    },
}


def check(config: dict[str, Any], device_count: int) -> dict[str, Any]:
    """Checks that the fields of a classification config fit together, and fills in defaults.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    dataset = config["dataset"]
    try:
        info = data.info(dataset["name"])
    except ValueError as error:
        raise ConfigError(f"dataset.name={dataset['name']!r}: {error}") from None
    config["network"] = _check_network(config["network"], info.num_classes)
    _check_image_sizes(config, info.image_size)

    _check_divides(config, "batch_size", device_count * config["accumulation_steps"],
                   f"{device_count} devices" + (
                       f" x {config['accumulation_steps']} accumulation steps"
                       if config["accumulation_steps"] > 1 else ""))
    if config["augmentation"]["mixup_alpha"] or config["augmentation"]["cutmix"]:
        parts = 2 * device_count * config["accumulation_steps"]
        _check_divides(config, "batch_size", parts, f"{parts} halves of pairs that are mixed on "
                       "each device in each accumulation step")
    _check_divides(config, "evaluation_batch_size", device_count, f"{device_count} devices")

    schedule = config["schedule"]
    if schedule["warmup_epochs"] >= config["num_epochs"]:
        raise ConfigError(
            f"schedule.warmup_epochs={schedule['warmup_epochs']:g}: must be less than "
            f"num_epochs={config['num_epochs']:g}")
    try:
        optim.create_schedule(schedule["name"], total_steps=2,
                              final_fraction=schedule["final_fraction"])
    except ValueError as error:
        raise ConfigError(f"schedule.final_fraction={schedule['final_fraction']:g}: {error}"
                          ) from None
    return config


def _check_image_sizes(config: dict[str, Any], fixed_size: int | None) -> None:
    """Fills in and checks the sizes of the images for training and for evaluation."""
    dataset, name = config["dataset"], config["network"]["name"]
    own = (fixed_size, fixed_size) if fixed_size else nets.image_sizes(name)
    if dataset["evaluation_image_size"] is None:
        dataset["evaluation_image_size"] = dataset["image_size"] or own[1]
    if dataset["image_size"] is None:
        dataset["image_size"] = own[0]
    stride = nets.total_stride(**config["network"])
    for field in ("image_size", "evaluation_image_size"):
        if dataset[field] < stride:
            raise ConfigError(
                f"dataset.{field}={dataset[field]}: smaller than the total stride {stride} of "
                f"{name}; use images of at least {stride} pixels or a network for small images, "
                "such as nf_wrn_16_4")


def _check_network(network: Mapping[str, Any], num_classes: int) -> dict[str, Any]:
    name = network["name"]
    try:
        defaults = nets.defaults(name)
    except ValueError as error:
        raise ConfigError(f"network.name={name!r}: {error}") from None
    overrides = {k: v for k, v in network.items() if k != "name" and v is not None}
    for key in overrides:
        if key not in defaults:
            raise unknown_field(f"network.{key}", defaults)
    try:
        nets.create(name, num_classes, **overrides)
    except ValueError as error:
        raise ConfigError(f"network.{error}") from None
    defaults.pop("cross_replica_axis", None)
    return {"name": name, **defaults, **overrides}


def _check_divides(config: dict, field: str, divisor: int, what: str) -> None:
    value = config[field]
    if value % divisor:
        below, above = value // divisor * divisor, -(-value // divisor) * divisor
        fitting = f"{below} or {above}" if below else f"{above}"
        raise ConfigError(f"{field}={value}: not divisible by the {what}; use {fitting}")
