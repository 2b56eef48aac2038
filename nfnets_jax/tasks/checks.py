"""What the configs of several tasks have in common: fields, and checks with their errors."""

from collections.abc import Mapping
from typing import Any

import jmp

from nfnets_jax import data, nets, optim
from nfnets_jax.config import (
    ConfigError,
    Field,
    Fields,
    anything_like,
    integer,
    number,
    text,
    unknown_field,
)
from nfnets_jax.training.workdir import WorkdirError, read_config

# The names of `precision`: the dtype of the network's activations; parameters stay float32.
POLICIES = {
    "float32": jmp.get_policy("float32"),
    "bfloat16": jmp.get_policy("params=float32,compute=bfloat16,output=float32"),
}

# One of the first three decides how long a run is; `step_rounding` is of num_epochs.
BUDGET_FIELDS: Fields = {
    "num_epochs": number(None, 0, 1e6, open_below=True),
    "num_steps": integer(None, 1),
    "num_examples": integer(None, 1),
    "step_rounding": text("nearest", ("nearest", "total", "per_epoch")),
}

SCHEDULE_FIELDS: Fields = {
    "name": text("cosine", tuple(optim.SCHEDULES)),
    "warmup_epochs": number(5.0, 0, 1e6),
    "final_fraction": number(0.0, 0, 1),
    "first_drop": text("at_half", optim.schedules.FIRST_DROPS),  # of the halving schedule
    # Of the piecewise schedule: fractions of the run, and by how much the factor falls at each.
    "drops": Field(None, tuple, "increasing fractions above 0 and below 1, such as (0.5, 0.75)",
                   lambda values: all(type(value) is float for value in values)),
    "drop_factor": number(0.1, 0, 1, open_below=True),
}

# What an optimizer is told beside its learning rate and weight decay. Unset, it is that of
# `optim.OPTIMIZERS`; an optimizer refuses what it does not have.
OPTIMIZER_FIELDS: Fields = {
    "name": text("sgd", tuple(optim.OPTIMIZERS)),
    "momentum": number(None, 0, 1, open_above=True),
    "nesterov": anything_like(True),
    "beta1": number(None, 0, 1, open_above=True),
    "beta2": number(None, 0, 1, open_above=True),
    "xi": number(None, 0),
    "bias_terms": anything_like(True),
}

# Where the parameters of the encoder come from; unset for random ones. `pretrained` as the name of
# a network stands for the network of `workdir`.
PRETRAINED_FIELDS: Fields = {
    "workdir": text(None),
    "checkpoint": text("latest"),
    "weights": text(None),
}
PRETRAINED = "pretrained"


def dataset_fields(name: str) -> Fields:
    """Which examples are trained on and evaluated, and how those of the evaluation look."""
    return {
        "name": text(name),
        "data_dir": text(None),
        "image_size": integer(None, 1, 2**14),
        "train_split": text("train"),
        "evaluation_split": text("test"),
        "validation_split": text(None),  # one more, which sweeps evaluate
        "evaluation_image_size": integer(None, 1, 2**14),
        "evaluation_crop": text("crop_resize", data.EVALUATION_CROPS),
        "loader_threads": integer(8, 1, 1024),
    }


def network_fields(default: str) -> Fields:
    """The name of a network, and whatever any network can be told; unset by default."""
    overrides = {}
    for name in nets.names():
        for key, value in nets.defaults(name).items():
            overrides.setdefault(key, anything_like(value))
    # Which axis batch statistics are averaged over is decided by the task, not by the config.
    overrides.pop("cross_replica_axis", None)
    return {"name": text(default), **overrides}


def check_image_sizes(config: dict[str, Any], fixed_size: int | None) -> None:
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


def check_network(network: Mapping[str, Any], num_classes: int | None) -> dict[str, Any]:
    """Checks the fields of a network and fills in its defaults."""
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


def check_divides(config: dict, field: str, divisor: int, what: str) -> None:
    """Refuses a field that is not a multiple of `divisor`, and says what would be."""
    value = config[field]
    if value % divisor:
        below, above = value // divisor * divisor, -(-value // divisor) * divisor
        fitting = f"{below} or {above}" if below else f"{above}"
        raise ConfigError(f"{field}={value}: not divisible by the {what}; use {fitting}")


def check_pretrained(config: dict[str, Any]) -> None:
    """Puts the network of the run that is continued in place of the name 'pretrained'."""
    source, network = config["pretrained"], config["network"]
    if source["workdir"] and source["weights"]:
        raise ConfigError(
            f"pretrained.weights={source['weights']!r}: pretrained.workdir is set too; unset one")
    if network["name"] != PRETRAINED:
        return
    if not source["workdir"]:
        raise ConfigError(
            f"network.name={PRETRAINED!r}: is the network of pretrained.workdir, which is not set; "
            "set it to the --workdir of a finished run, or name a network")
    try:
        network.update(read_config(source["workdir"])["network"])
    except (WorkdirError, KeyError) as error:
        raise ConfigError(f"pretrained.workdir={source['workdir']!r}: {error}") from None


def check_dataset(name: str) -> data.DatasetInfo:
    """The facts of the data set of a config."""
    try:
        return data.info(name)
    except ValueError as error:
        raise ConfigError(f"dataset.name={name!r}: {error}") from None


def check_batch(config: dict[str, Any], device_count: int) -> None:
    """Refuses batches that do not divide into the devices and the slices of a step."""
    slices = config.get("accumulation_steps", 1)
    check_divides(config, "batch_size", device_count * slices, f"{device_count} devices" + (
        f" x {slices} accumulation steps" if slices > 1 else ""))
    check_divides(config, "evaluation_batch_size", device_count, f"{device_count} devices")


def check_budget(config: dict[str, Any], default_epochs: float) -> None:
    """Leaves one of num_epochs, num_steps and num_examples; the number of epochs gives way."""
    if config["num_steps"] is not None and config["num_examples"] is not None:
        raise ConfigError(f"num_steps={config['num_steps']}: num_examples="
                          f"{config['num_examples']} is set too; unset one")
    if config["num_steps"] is not None or config["num_examples"] is not None:
        config["num_epochs"] = None
    elif config["num_epochs"] is None:
        config["num_epochs"] = default_epochs


def check_optimizer(optimizer: dict[str, Any], **defaults: Any) -> None:
    """Fills in what the optimizer of a config has, and refuses what it has not.

    Args:
      optimizer: with the fields of `OPTIMIZER_FIELDS`.
      **defaults: of the task, in place of those of `optim.OPTIMIZERS`.
    """
    name = optimizer["name"]
    own = optim.OPTIMIZERS[name]
    for field in OPTIMIZER_FIELDS:
        if field in own and optimizer[field] is None:
            optimizer[field] = defaults.get(field, own[field])
        elif field != "name" and field not in own and optimizer[field] is not None:
            owners = [other for other, fields in optim.OPTIMIZERS.items() if field in fields]
            raise ConfigError(f"optimizer.{field}={optimizer[field]!r}: {name} has none; unset it, "
                              f"or set optimizer.name to {' or '.join(owners)}")


def schedule_arguments(schedule: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `optim.create_schedule` in a config, whose warm-up is in epochs."""
    return {field: value for field, value in schedule.items() if field != "warmup_epochs"}


def check_schedule(config: dict[str, Any]) -> None:
    """Refuses a schedule that the length of the run, or the schedule itself, does not allow.

    A warm-up that num_steps or num_examples do not allow is refused with the steps of an epoch, by
    `lengths.create_schedule`.
    """
    schedule, num_epochs = config["schedule"], config["num_epochs"]
    if num_epochs is not None and schedule["warmup_epochs"] >= num_epochs:
        raise ConfigError(
            f"schedule.warmup_epochs={schedule['warmup_epochs']:g}: must be less than "
            f"num_epochs={num_epochs:g}")
    try:
        optim.create_schedule(total_steps=2, **schedule_arguments(schedule))
    except ValueError as error:
        raise ConfigError(f"schedule.{error}") from None
