"""A task is three pure functions; an experiment is a task with its data and its numbers."""

import functools
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

Batch = Any
Metrics = dict[str, jax.Array]
Hyper = Mapping[str, Any]


class Task(NamedTuple):
    """What `hk.Transformed` is to a network, a task is to an experiment.

    The functions are written for one device and run on every device of a mesh; the batch they
    see is the device's shard, and the state is the same on all devices.

    Attributes:
      init: `(key, hyper) -> state`. `hyper` holds the scalars that a sweep may vary, as traced
        values; the state is one pytree and keeps them.
      step: `(state, batch, key) -> (state, metrics)`. `key` is a function of the run's seed and
        the step alone. Metrics are scalars, averaged over the axis `'data'`.
      evaluate: `(state, batch) -> metrics`. Every entry is a sum over the examples of the
        batch, added up over the axis `'data'`; the entry `count` is the number of examples.
    """

    init: Callable[[jax.Array, Hyper], Any]
    step: Callable[[Any, Batch, jax.Array], tuple[Any, Metrics]]
    evaluate: Callable[[Any, Batch], Metrics]


class Measurement(NamedTuple):
    """What an evaluation found.

    Attributes:
      metrics: name -> value.
      remark: a sentence for the log, where there is something to say.
    """

    metrics: dict[str, float]
    remark: str | None = None


class Resident(NamedTuple):
    """A data set that is small enough to stay on the devices.

    Many steps can then be made in one program, without a word from the host. Batch k is that of
    `Experiment.train_batches`.

    Attributes:
      arrays: tree of NumPy arrays, the whole training split.
      draw: `(seed, start, stop) -> tree` of NumPy arrays [stop - start, batch, ...]: what says
        which examples the steps start, ..., stop - 1 of a run with this seed are made with.
      batch: `(arrays, drawn) -> batch`, where `drawn` are one step's rows of `draw`; traced.
    """

    arrays: Any
    draw: Callable[[int, int, int], Any]
    batch: Callable[[Any, Any], Batch]


class Objective(NamedTuple):
    """What a task minimises, as a function of its parameters: what `analysis` measures.

    Weight decay and augmentation are not part of it.

    Attributes:
      params: `state -> tree` of the trained parameters.
      losses: `(params, state, batch, is_training) -> float32 [N]`, the loss of each example. With
        `is_training` norms see the statistics of the batch, so that an example's loss depends on
        the others, and dropout is that of one key; without it norms see moving averages.
      examples: `count -> batch` of NumPy arrays [count, ...], examples of the training split,
        without augmentation, the same on all processes; None stands for all.
      has_batch_statistics: `state -> bool`, whether the network has norms of the first kind.
      temperature: `state -> scalar`, that of SGD with momentum (`analysis.sgd_noise`); None for
        other optimizers.
    """

    params: Callable[[Any], Any]
    losses: Callable[[Any, Any, Batch, bool], jax.Array]
    examples: Callable[[int | None], Batch]
    has_batch_statistics: Callable[[Any], bool] = lambda state: False
    temperature: Callable[[Any], jax.Array] | None = None


class Experiment(NamedTuple):
    """A task with all that the training loop needs to run it.

    Attributes:
      task: the three functions.
      hyper: values of the traced scalars.
      total_steps: length of the run.
      examples_per_step: size of the global batch, for the rate that is shown; 0 if a step has
        no examples.
      train_batches: `start_step -> iterator` over the host batches of this process, beginning
        with that step's batch.
      evaluation_batches: `split -> iterator` over padded host batches of this process.
      evaluation_split: the split that is evaluated during training.
      best_metric: name of the evaluation metric that picks the best checkpoint.
      figures: name -> `(state, path) -> measurements`, a function that draws one picture of a
        state and returns what it shows; each is drawn at initialisation and at the end. The
        state's leaves are numpy arrays. None says that there was nothing to draw.
      prepare: `state -> state`, applied to a new initial state on the host, for what does not
        come out of random numbers: pretrained parameters. None leaves it alone.
      measure: `(state, means, split, mesh) -> Measurement`, for what no sum over batches can
        say; called by all processes beside each evaluation of a split, whose means it is given.
        Its metrics are added to them.
      conclude: `evaluate -> (split, Measurement)`, called when training is complete, for protocols
        that choose on one split and report another; `evaluate(split)` gives a split's means.
      plot_curves: `(metrics file, path)`, draws the learning curves of a run; None for those that
        every task has.
      best_is_smallest: whether smaller values of `best_metric` are better.
      splits: what the evaluations of a sweep are called, 'train', 'valid' or 'test', and the split
        that each stands for; empty for `evaluation_split` alone, as 'test'.
      resident: the training data, where they are small enough to stay on the devices.
      chance_loss: of a model that has learned nothing, log K for K classes; None if there is none.
      exact_step_loss: whether the metric `loss` of a step is the whole objective, as in a
        simulation, and not an estimate from one batch.
      objective: what `analysis` measures; None where it does not apply.
    """

    task: Task
    hyper: dict[str, float]
    total_steps: int
    examples_per_step: int
    train_batches: Callable[[int], Iterator[Batch]]
    evaluation_batches: Callable[[str], Iterator[Batch]]
    evaluation_split: str
    best_metric: str
    figures: dict[str, Callable[[Any, str], dict[str, Any] | None]]
    prepare: Callable[[Any], Any] | None = None
    measure: Callable[..., Measurement] | None = None
    conclude: Callable[..., tuple[str, Measurement]] | None = None
    plot_curves: Callable[[Any, Any], None] | None = None
    best_is_smallest: bool = False
    splits: Mapping[str, str] = MappingProxyType({})
    resident: Resident | None = None
    chance_loss: float | None = None
    exact_step_loss: bool = False
    objective: Objective | None = None


def read_hyper(config: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, float]:
    """The traced scalars of a checked config.

    Args:
      config: checked.
      fields: name of the scalar -> path of its field, such as `optimizer.learning_rate`; the
        `HYPER` of a task's module.
    """
    return {name: functools.reduce(lambda level, key: level[key], path.split("."), config)
            for name, path in fields.items()}
