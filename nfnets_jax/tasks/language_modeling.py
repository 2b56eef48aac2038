"""Language modelling: the next token from all before it, with stacked LSTMs.

Truncated back-propagation through time: a step reads the next `sequence_length` tokens of each
stream of the corpus (`data.text.stream_starts`) from the hidden state that the last one ended
with, and the gradient stays inside the step. The recipe is that of Zaremba, Sutskever & Vinyals
(2014, arXiv 1409.2329), recalled: SGD, and gradients clipped by their global norm. The loss here
is the mean over the tokens, where the paper sums over the steps of a sequence: its learning rate
1 and norm 5 are `sequence_length` and 5 / `sequence_length` here.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from nfnets_jax import data, optim
from nfnets_jax.config import ConfigError, Fields, boolean, integer, number, text
from nfnets_jax.data.text import SPLITS, steps_per_epoch, stream_starts
from nfnets_jax.nets import lstm
from nfnets_jax.tasks import checks
from nfnets_jax.tasks import task as task_lib
from nfnets_jax.tasks.evaluation import classification_sums
from nfnets_jax.tasks.gradients import temperature_of
from nfnets_jax.tasks.task import Experiment, Hyper, Measurement, Metrics, Objective, Resident, Task
from nfnets_jax.training.mesh import DATA, mean_over_devices

FIELDS: Fields = {
    **{name: checks.BUDGET_FIELDS[name] for name in ("num_epochs", "num_steps", "num_examples")},
    "batch_size": integer(20, 1, 2**20),
    "sequence_length": integer(35, 1, 2**14),
    "evaluation_batch_size": integer(16, 1, 2**20),
    "evaluation_sequence_length": integer(256, 1, 2**14),
    "network": {
        "name": text("lstm", ("lstm",)),
        "hidden_size": integer(200, 1, 2**14),
        "num_layers": integer(2, 1, 100),
        "dropout_rate": number(0.0, 0, 1, open_above=True),
        "init_scale": number(0.1, 0, open_below=True),
        "tied_embedding": boolean(False),
    },
    "dataset": {
        "name": text("pydoc_topics", data.CORPORA),
        "level": text("word", data.LEVELS),
        "vocabulary_size": integer(None, 2, 2**24),
        "data_dir": text(None),
        "evaluation_split": text("valid", SPLITS),
    },
    "optimizer": {
        "learning_rate": number(1.0, 0),
        "momentum": number(0.0, 0, 1, open_above=True),
        "weight_decay": number(0.0, 0),
        "max_gradient_norm": number(5.0, 0, open_below=True),
    },
    "schedule": {**checks.SCHEDULE_FIELDS, "warmup_epochs": number(0.0, 0, 1e6)},
}

HYPER = {name: f"optimizer.{name}" for name in FIELDS["optimizer"]}


class State(NamedTuple):
    """All that training changes, and the scalars that a sweep may vary.

    Attributes:
      step: int32 scalar, how many updates have been made.
      params: of the network, float32.
      opt_state: of the optax optimizer.
      hidden: what the network remembers of each stream, for the whole batch on every device: a
        state is one replicated tree, whatever the devices, so that a checkpoint can be continued
        on any number of them. A device uses and renews its own rows. Two arrays [B, L, H] are
        small beside the activations of a step, which are T times as many.
      hyper: learning_rate, momentum, weight_decay, max_gradient_norm.
    """

    step: jax.Array
    params: hk.Params
    opt_state: optax.OptState
    hidden: hk.LSTMState
    hyper: Hyper


def create_task(
    network: hk.Transformed,
    *,
    initial_state: Callable[[int], Any],
    batch_size: int,
    schedule: optax.Schedule,
) -> Task:
    """The three functions of language modelling.

    Args:
      network: `(tokens [N, T], hidden, is_training) -> (logits [N, T, V], hidden)`.
      initial_state: `N -> hidden`, a tree of arrays [N, ...].
      batch_size: streams in the global batch.
      schedule: step to a factor of `hyper['learning_rate']`.

    Returns:
      A task whose batch is a dict of tokens int32 [N, T + 1] and, for training, is_start bool
      [N], for evaluation, mask float32 [N, T]. The loss is the mean cross-entropy in nats.
    """

    def optimizer(hyper: Hyper, step: jax.Array) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(hyper["max_gradient_norm"]),
            optim.sgd(hyper["learning_rate"] * schedule(step), momentum=hyper["momentum"],
                      weight_decay=hyper["weight_decay"], nesterov=False))

    def init(key: jax.Array, hyper: Hyper) -> State:
        params = network.init(key, jnp.zeros((1, 1), jnp.int32), initial_state(1), False)
        start = jnp.zeros((), jnp.int32)
        return State(start, params, optimizer(hyper, start).init(params),
                     initial_state(batch_size), hyper)

    def loss_fn(params, key, hidden, tokens):
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        logits, hidden = network.apply(params, key, inputs, hidden, True)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()
        accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == targets)
        return loss, (hidden, {"loss": loss, "accuracy": accuracy})

    def step(state: State, batch: dict, key: jax.Array) -> tuple[State, Metrics]:
        tokens, is_start = batch["tokens"], batch["is_start"]
        place = jax.lax.axis_index(DATA)

        def own_rows(x):
            rows = jax.lax.dynamic_slice_in_dim(x, place * len(tokens), len(tokens))
            return jnp.where(is_start.reshape(-1, *[1] * (x.ndim - 1)), 0, rows)

        grads, (hidden, metrics) = jax.grad(loss_fn, has_aux=True)(
            state.params, jax.random.fold_in(key, place), jax.tree.map(own_rows, state.hidden),
            tokens)
        grads, metrics = mean_over_devices((grads, metrics))
        hidden = jax.lax.all_gather(hidden, DATA, tiled=True)
        updates, opt_state = optimizer(state.hyper, state.step).update(
            grads, state.opt_state, state.params)
        metrics = metrics | {
            "learning_rate": state.hyper["learning_rate"] * schedule(state.step),
            "gradient_norm": optax.tree.norm(grads),  # before it is clipped
        }
        params = optax.apply_updates(state.params, updates)
        return State(state.step + 1, params, opt_state, hidden, state.hyper), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        tokens = batch["tokens"]
        logits, _ = network.apply(
            state.params, None, tokens[:, :-1], initial_state(len(tokens)), False)
        return classification_sums(
            logits.reshape(-1, logits.shape[-1]),
            {"label": tokens[:, 1:].reshape(-1), "mask": batch["mask"].reshape(-1)})

    return Task(init, step, evaluate)


def create_objective(network: hk.Transformed, initial_state: Callable[[int], Any],
                     examples: Callable[[int | None], dict],
                     temperature: Callable[[State], jax.Array] | None = None) -> Objective:
    """The mean cross-entropy of each window of text, from an empty memory and without dropout.

    Args:
      network, initial_state: as for `create_task`.
      examples: `count -> batch` with tokens and mask, see `Objective`.
      temperature: see `Objective`.
    """

    def losses(params, state, batch, is_training):
        del state, is_training
        tokens, mask = batch["tokens"], batch["mask"]
        logits, _ = network.apply(
            params, None, tokens[:, :-1], initial_state(len(tokens)), False)
        values = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
        return jnp.sum(values * mask, axis=1) / jnp.sum(mask, axis=1)

    return Objective(lambda state: state.params, losses, examples, temperature=temperature)


def check(config: dict[str, Any], device_count: int) -> dict[str, Any]:
    """Checks that the fields of a language model's config fit together.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    checks.check_batch(config, device_count)
    checks.check_budget(config, default_epochs=10.0)
    checks.check_schedule(config)
    return config


def create(config: dict[str, Any], process_index: int = 0, process_count: int = 1) -> Experiment:
    """Builds the experiment of a checked config; opens the corpus.

    Raises:
      ConfigError: if the corpus has no such level or is damaged, or the run would have no step
        after its warm-up.
      FileNotFoundError: if the corpus is not on this machine; says how to get it.
    """
    dataset, network = config["dataset"], config["network"]
    try:
        corpus = data.load_corpus(
            dataset["name"], level=dataset["level"], vocabulary_size=dataset["vocabulary_size"],
            data_dir=dataset["data_dir"])
    except ValueError as error:
        raise ConfigError(f"dataset.name={dataset['name']!r}: {error}") from None
    total_steps, schedule = _length(config, len(corpus.splits["train"]))
    shapes = dict(num_layers=network["num_layers"], hidden_size=network["hidden_size"])
    model = lstm.lstm_language_model(
        len(corpus.vocabulary), **shapes, dropout_rate=network["dropout_rate"],
        init_scale=network["init_scale"], tied_embedding=network["tied_embedding"])
    initial_state = functools.partial(lstm.initial_state, **shapes)
    task = create_task(model, initial_state=initial_state, batch_size=config["batch_size"],
                       schedule=schedule)
    processes = dict(process_index=process_index, process_count=process_count)

    def train_batches(start_step: int):
        return data.token_batches(
            corpus.splits["train"], batch_size=config["batch_size"],
            sequence_length=config["sequence_length"], seed=config["seed"],
            start_step=start_step, **processes)

    def evaluation_batches(split: str):
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}; use one of {', '.join(SPLITS)}")
        return data.window_batches(
            corpus.splits[split], batch_size=config["evaluation_batch_size"],
            sequence_length=config["evaluation_sequence_length"], **processes)

    def examples(count: int | None):
        length = config["evaluation_sequence_length"]
        total = -(-(len(corpus.splits["train"]) - 1) // length)
        return next(data.window_batches(
            corpus.splits["train"], batch_size=min(count or total, total), sequence_length=length))

    return Experiment(
        task=task,
        hyper=read_hyper(config),
        total_steps=total_steps,
        examples_per_step=config["batch_size"],
        train_batches=train_batches,
        evaluation_batches=evaluation_batches,
        evaluation_split=dataset["evaluation_split"],
        best_metric="loss",
        best_is_smallest=True,
        figures={},
        measure=_measure_perplexity,
        splits={split: split for split in SPLITS},
        resident=resident_corpus(
            corpus.splits["train"], config["batch_size"], config["sequence_length"]),
        chance_loss=math.log(len(corpus.vocabulary)),
        objective=create_objective(
            model, initial_state, examples, temperature_of(config, schedule)),
    )


def read_hyper(config: Mapping[str, Any]) -> dict[str, float]:
    """The traced scalars of a checked config."""
    return task_lib.read_hyper(config, HYPER)


def resident_corpus(ids, batch_size: int, sequence_length: int) -> Resident:
    """The batches of `data.token_batches` as gathers from the corpus, int32 [N], on the device."""

    def draw(seed: int, start: int, stop: int) -> dict[str, Any]:
        starts, is_start = stream_starts(
            len(ids), batch_size, sequence_length, seed, start, stop)
        return {"start": starts, "is_start": is_start}

    def batch(arrays, drawn):
        places = drawn["start"][:, None] + jnp.arange(sequence_length + 1)
        return {"tokens": arrays["tokens"][places % len(ids)], "is_start": drawn["is_start"]}

    return Resident({"tokens": ids}, draw, batch)


def _length(config: Mapping[str, Any], num_tokens: int) -> tuple[int, optax.Schedule]:
    """The number of steps of a run, and its schedule as a factor of the learning rate.

    An epoch is the whole steps that the streams have; an example is a sequence.
    """
    try:
        per_epoch = steps_per_epoch(num_tokens, config["batch_size"], config["sequence_length"])
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if config["num_steps"] is not None:
        total_steps = config["num_steps"]
    elif config["num_examples"] is not None:
        total_steps = config["num_examples"] // config["batch_size"]
    else:
        total_steps = round(config["num_epochs"] * per_epoch)
    if total_steps < 1:
        field = "num_epochs" if config["num_examples"] is None else "num_examples"
        raise ConfigError(
            f"{field}={config[field]:g}: less than one step of batch_size={config['batch_size']}, "
            f"where an epoch has {per_epoch} steps; use more")
    schedule = config["schedule"]
    warmup_steps = round(schedule["warmup_epochs"] * per_epoch)
    if warmup_steps >= total_steps:
        raise ConfigError(
            f"schedule.warmup_epochs={schedule['warmup_epochs']:g}: are {warmup_steps} steps of a "
            f"run of {total_steps}; use less than {total_steps / per_epoch:.3g}")
    return total_steps, optim.create_schedule(
        total_steps=total_steps, warmup_steps=warmup_steps, **checks.schedule_arguments(schedule))


def _measure_perplexity(state, means, split, mesh) -> Measurement:
    del state, split, mesh
    with np.errstate(over="ignore"):
        return Measurement({"perplexity": float(np.exp(means["loss"]))})
