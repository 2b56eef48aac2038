"""A student network learns two classes of random vectors that a teacher network has made.

    inputs    x [d], uniform on the sphere of radius sqrt(d)
    teacher   s(x) = v' tanh(2 A' x),  A [d, h] ~ N(0, 1 / d),  v [h] ~ N(0, 1)
    labels    whether s(x) is above its median over the training examples
    student   any fully connected network of one output z; loss log(1 + exp(-z)), or exp(z) for
              class 0

A step draws its examples independently, with replacement. The problem is that of `data_seed`,
whatever the seed of the run: several runs differ in their start and their batches. It is a stand-in
for the data sets of gradient confusion (arXiv 1904.06963) that trains in seconds; our choice. The
student is trained as `classification` trains a network on images [1, 1, d].
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nfnets_jax import nets, optim
from nfnets_jax.config import ConfigError, Fields, boolean, integer, number
from nfnets_jax.data.loading import size_per_process
from nfnets_jax.data.resident import gather
from nfnets_jax.tasks import checks, classification, simulations
from nfnets_jax.tasks import task as task_lib
from nfnets_jax.tasks.gradients import temperature_of
from nfnets_jax.tasks.task import Experiment, Resident
from nfnets_jax.training.mesh import DATA

FIELDS: Fields = {
    "num_steps": integer(800, 1),
    "num_examples": integer(1024, 1, 2**24),
    "num_test_examples": integer(1024, 1, 2**24),
    "num_dimensions": integer(32, 1, 2**14),
    "num_teacher_units": integer(16, 1, 2**14),
    "data_seed": integer(0, 0),
    "batch_size": integer(32, 1, 2**20),
    "evaluation_batch_size": integer(1024, 1, 2**20),
    "label_smoothing": number(0.0, 0, 1, open_above=True),
    "cross_replica_batch_norm": boolean(True),
    "network": checks.network_fields("mlp"),
    "optimizer": {
        "learning_rate": number(0.1, 0),
        **checks.OPTIMIZER_FIELDS,
        "weight_decay": number(0.0, 0),
    },
    "schedule": simulations.schedule_fields("constant", 1.0),
}

HYPER = {name: path for name, path in classification.HYPER.items()
         if name in (*FIELDS, *FIELDS["optimizer"])}

Examples = dict[str, np.ndarray]


def draw_examples(config: Mapping[str, Any]) -> dict[str, Examples]:
    """Draws the splits 'train' and 'test' of a config.

    Returns:
      Dicts of image float32 [N, 1, 1, d] and label int32 [N].
    """
    dimensions, units = config["num_dimensions"], config["num_teacher_units"]
    num_train = config["num_examples"]
    random = np.random.default_rng(config["data_seed"])
    a = random.normal(0.0, dimensions**-0.5, (dimensions, units))
    v = random.normal(size=units)
    x = random.normal(size=(num_train + config["num_test_examples"], dimensions))
    x *= math.sqrt(dimensions) / np.linalg.norm(x, axis=-1, keepdims=True)
    scores = np.tanh(2.0 * x @ a) @ v
    labels = (scores > np.median(scores[:num_train])).astype(np.int32)
    images = x.astype(np.float32)[:, None, None]
    return {"train": {"image": images[:num_train], "label": labels[:num_train]},
            "test": {"image": images[num_train:], "label": labels[num_train:]}}


def read_hyper(config: Mapping[str, Any]) -> dict[str, float]:
    """The traced scalars of a checked config."""
    hyper = task_lib.read_hyper(config, HYPER)
    return {name: value for name, value in hyper.items() if value is not None}


def check(config: dict[str, Any], device_count: int) -> dict[str, Any]:
    """Checks that the fields fit together, and fills in defaults.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    config["network"] = checks.check_network(config["network"], 1)
    if "depths" in config["network"]:
        raise ConfigError(f"network.name={config['network']['name']!r}: the inputs are vectors, "
                          "not images; use a fully connected network, such as mlp or bn_mlp")
    checks.check_optimizer(config["optimizer"], momentum=0.0, nesterov=False)
    checks.check_batch(config, device_count)
    simulations.create_schedule(config, config["num_steps"])
    return config


def create(config: dict[str, Any], process_index: int = 0, process_count: int = 1) -> Experiment:
    """Builds the experiment of a checked config."""
    splits = draw_examples(config)
    schedule = simulations.create_schedule(config, config["num_steps"])
    train, num_steps = splits["train"], config["num_steps"]
    across = {}
    if config["cross_replica_batch_norm"] and "bn_decay_rate" in config["network"]:
        across["cross_replica_axis"] = DATA
    network = nets.with_two_logits(nets.create(**config["network"], **across, num_classes=1))
    task = classification.create_task(
        network,
        image_shape=train["image"].shape[1:],
        preprocess=lambda images: images,
        augment=lambda key, images, index: images,
        schedule=schedule,
        create_optimizer=optim.optimizer_of(config["optimizer"]),
    )

    def draw(seed: int, start: int, stop: int) -> Examples:
        size = config["batch_size"]
        ids = [np.random.default_rng([seed, step]).integers(len(train["label"]), size=size)
               for step in range(start, stop)]
        positions = np.arange(start * size, stop * size)
        return {"id": np.array(ids, np.int32),
                "index": positions.astype(np.uint32).reshape(-1, size)}

    def own_rows(step: int, batch_size: int) -> slice:
        size = size_per_process(batch_size, process_index, process_count)
        start = step * batch_size + process_index * size
        return slice(start, start + size)

    def train_batches(start_step: int) -> Iterator[Examples]:
        rows = own_rows(0, config["batch_size"])
        for step in itertools.count(start_step):
            drawn = draw(config["seed"], step, step + 1)
            yield gather(train, {name: x[0, rows] for name, x in drawn.items()})

    def evaluation_batches(split: str) -> Iterator[Examples]:
        if split not in splits:
            raise ValueError(f"split {split!r} is unknown; use {' or '.join(splits)}")
        count, size = len(splits[split]["label"]), config["evaluation_batch_size"]

        def batch(step: int) -> Examples:
            rows = own_rows(step, size)
            positions = np.arange(rows.start, rows.stop)
            is_real = positions < count
            drawn = {"id": np.where(is_real, positions, 0), "index": positions.astype(np.uint32)}
            return gather(splits[split], drawn) | {"mask": is_real.astype(np.float32)}

        return map(batch, range(-(-count // size)))

    def examples(count: int | None) -> Examples:
        ids = np.arange(len(train["label"]))[:count]
        return gather(train, {"id": ids, "index": ids.astype(np.uint32)})

    return Experiment(
        task=task,
        hyper=read_hyper(config),
        total_steps=num_steps,
        examples_per_step=config["batch_size"],
        train_batches=train_batches,
        evaluation_batches=evaluation_batches,
        evaluation_split="test",
        best_metric="accuracy",
        figures={},
        splits={"train": "train", "test": "test"},
        resident=Resident(train, draw, gather),
        chance_loss=math.log(2),
        objective=classification.create_objective(
            network, lambda images: images, examples, temperature=temperature_of(config, schedule)),
    )
