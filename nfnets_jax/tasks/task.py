"""A task is three pure functions; an experiment is a task with its data and its numbers."""

from collections.abc import Callable, Iterator, Mapping
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
      best_metric: name of the evaluation metric (larger is better) that picks the best
        checkpoint.
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
