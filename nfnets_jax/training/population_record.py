"""What becomes of the members of a population: their evaluations, and what these say of them."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nfnets_jax.tasks.task import Experiment
from nfnets_jax.training.population import DIVERGENCE_FACTOR
from nfnets_jax.training.workdir import write_atomically

# A run whose final training loss is at least this share of the chance loss has learned nothing.
DEAD_SHARE = 0.95
# What stands for an initial loss that is not finite.
LARGEST_LOSS = float(np.finfo(np.float32).max)


class Outcome(NamedTuple):
    """What one run has come to.

    Attributes:
      status: 'done', 'dead' or 'diverged'; see `judge`.
      steps: that were made.
      diverged_at: the step at which divergence was seen, or None.
      metrics: of the last evaluation, named `{role}_{metric}`; None where not finite. And
        `best_{role}_{metric}`, the best value after the start of the metric that picks checkpoints.
      curve: all evaluations, each with its `step`; and in between `running_loss`, the mean loss of
        the steps since the point before. What an analysis finds stands here as lists, too.
    """

    status: str
    steps: int
    diverged_at: int | None
    metrics: dict[str, float | None]
    curve: list[dict[str, Any]]


class Runs(NamedTuple):
    """Which runs a population is made of.

    Attributes:
      seeds: of each member.
      hyper: the traced scalars of each member.
      active: whether a member is wanted; the others only keep the population the same.
    """

    seeds: Sequence[int]
    hyper: Sequence[dict[str, Any]]
    active: Sequence[bool]


class Record:
    """The evaluations of a population, and what they say of its members."""

    def __init__(self, experiment: Experiment, runs: Runs):
        self._experiment, self._runs = experiment, runs
        self._count = len(runs.seeds)
        self._curves: list[list[dict]] = [[] for _ in range(self._count)]
        self._diverged_at: list[int | None] = [None] * self._count
        self._steps = [0] * self._count
        self._initial: list[float] = []

    def add(self, step: int, metrics: dict[str, np.ndarray], is_training, loss_sum, steps, finite):
        """Notes an evaluation.

        Returns:
          Which members go on, bool [size]; the loss of each before its first step, [size].
        """
        name = "train_loss" if "train_loss" in metrics else "test_loss"
        loss = metrics.get(name, np.zeros(len(is_training)))
        if step == 0:
            # A deep network may overflow here and yet be trained: with batch norms because it is
            # evaluated with moving averages of nothing.
            self._initial = [float(value) if math.isfinite(value) else LARGEST_LOSS
                             for value in loss]
        initial = np.array(self._initial)
        healthy = np.array(is_training)
        with np.errstate(invalid="ignore"):
            healthy &= finite & ((step == 0) | (loss <= DIVERGENCE_FACTOR * initial))
        for k in range(self._count):
            if not self._runs.active[k] or self._diverged_at[k] is not None:
                continue
            values = {metric: _finite(value[k]) for metric, value in metrics.items()}
            self._append(k, values, loss_sum, steps, bool(is_training[k]))
            if not healthy[k]:
                self._diverged_at[k] = self._steps[k]
        return healthy, initial

    def add_running_loss(self, is_training, loss_sum, steps) -> None:
        """Notes the mean loss of the steps since the last point, of the members in training."""
        for k in range(self._count):
            if is_training[k]:
                self._append(k, {}, loss_sum, steps, True)

    def _append(self, k: int, values: dict, loss_sum, steps, healthy: bool) -> None:
        made = int(steps[k]) - self._steps[k]
        if made and healthy:
            values["running_loss"] = _finite(loss_sum[k] / made)
        self._steps[k] = int(steps[k])
        self._curves[k].append({"step": self._steps[k], **values})

    def outcomes(self) -> list[Outcome]:
        """What each run has come to."""
        return [self._outcome(k) for k in range(self._count)]

    def _outcome(self, k: int) -> Outcome:
        if not self._runs.active[k]:
            return Outcome("missing", 0, None, {}, [])
        curve = self._curves[k]
        last = {name: value for name, value in curve[-1].items()
                if name not in ("step", "running_loss") and not isinstance(value, list)}
        role = "valid" if "valid" in self._experiment.splits else "test"
        name = f"{role}_{self._experiment.best_metric}"
        values = [point[name] for point in curve[1:] if point.get(name) is not None]
        if values:
            last[f"best_{name}"] = (min if self._experiment.best_is_smallest else max)(values)
        status = judge(self._diverged_at[k] is not None, last.get("train_loss"),
                       self._experiment.chance_loss)
        return Outcome(status, self._steps[k], self._diverged_at[k], last, curve)

    def save(self, file: Path) -> None:
        """Writes what was noted so far, beside a checkpoint."""
        write_atomically(file, json.dumps(
            [self._curves, self._diverged_at, self._steps, self._initial]))

    def load(self, file: Path) -> None:
        """Reads what `save` wrote."""
        self._curves, self._diverged_at, self._steps, self._initial = json.loads(file.read_text())


def judge(has_diverged: bool, train_loss: float | None, chance_loss: float | None) -> str:
    """What a run has come to (the rules are chosen, not any paper's).

    'diverged': the loss or a number of the state was not finite, or the training loss was more
    than `DIVERGENCE_FACTOR` times the initial one at an evaluation (in a simulation: at a step).
    'dead': the final training loss is finite, but at least `DEAD_SHARE` of the chance loss; also
    where the learning rate was too small. ReLU networks that blow up often end here, with a
    finite loss. 'done': all others.
    """
    if has_diverged:
        return "diverged"
    if chance_loss and train_loss is not None and train_loss >= DEAD_SHARE * chance_loss:
        return "dead"
    return "done"


def _finite(value) -> float | list | None:
    if np.ndim(value):
        return [_finite(one) for one in value]
    value = float(value)
    return value if math.isfinite(value) else None
