"""Gradient confusion, curvature and gradient noise of a task's loss, at any moment of training.

    measures = diagnostics.create(experiment, config, mesh)
    findings = measures.measure(state, seed, step)

What is measured is the loss of the training split without augmentation and weight decay, as a
function of the parameters (`Objective`). What is drawn at random is a function of (seed, step), so
that a run that was interrupted finds what an uninterrupted one finds.
"""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from nfnets_jax.config import ConfigError
from nfnets_jax.tasks.task import Experiment
from nfnets_jax.training.mesh import (
    DATA,
    REPLICATED,
    map_over_devices,
    mean_over_devices,
    must_block_each_step,
)


class Findings(NamedTuple):
    """What an analysis found.

    Attributes:
      values: name -> number, for metrics.
      arrays: name -> array, for figures.
    """

    values: dict[str, float]
    arrays: dict[str, np.ndarray]


def create(experiment: Experiment, config: Mapping[str, Any], mesh: Mesh) -> "Diagnostics | None":
    """The analysis that a checked config asks for, or None if it asks for none.

    Raises:
      ConfigError: if the task has no loss of single examples, or too few of them.
    """
    settings = config["analysis"]
    if not settings["measures"]:
        return None
    if experiment.objective is None:
        raise ConfigError(
            f"analysis.measures={tuple(settings['measures'])}: the task {config['task']} has no "
            "loss of single examples to be analysed; leave it empty")
    return Diagnostics(experiment, settings, settings["batch_size"] or config["batch_size"], mesh)


class Diagnostics:
    """Measures a task; its programs are compiled once.

    Args:
      experiment: with an objective.
      settings: `analysis` of a checked config.
      batch_size: of a minibatch.
      mesh: over whose axis `'data'` each minibatch is spread.
    """

    def __init__(self, experiment: Experiment, settings: Mapping[str, Any], batch_size: int,
                 mesh: Mesh):
        self.measures = tuple(settings["measures"])
        self._objective = experiment.objective
        self._settings, self._batch_size, self._mesh = settings, batch_size, mesh
        self._compare = map_over_devices(
            self._compare_gradients, mesh, (REPLICATED, P(None, DATA)), REPLICATED)

    @functools.cached_property
    def _examples(self) -> Any:
        return self._objective.examples(self._settings["num_examples"])

    def is_due(self, step: int, total: int) -> bool:
        """Whether a step is the first, the last, or one of those in between."""
        every = self._settings["every"]
        return step in (0, total) or every > 0 and step % every == 0

    def measure(self, state: Any, seed: int, step: int) -> Findings:
        """Measures a state of the task."""
        products = self._compare_pairs(state, seed, step)
        norms = np.sqrt(products[:, 1] * products[:, 2])
        cosines = np.where(norms > 0, products[:, 0] / np.where(norms > 0, norms, 1), 0.0)
        return Findings({
            "min_cosine": float(np.min(cosines)),
            "median_cosine": float(np.median(cosines)),
            "std_cosine": float(np.std(cosines)),
            "eta": float(max(0.0, -np.min(products[:, 0]))),
        }, {"cosines": cosines})

    def _gradient(self, state: Any, batch: Any) -> Any:
        """The gradient of a minibatch that is spread over the devices; traced."""
        is_training = self._settings["batch_norm"] == "batch"
        gradient = jax.grad(lambda params: jnp.mean(
            self._objective.losses(params, state, batch, is_training)))
        return mean_over_devices(gradient(self._objective.params(state)))

    def _compare_gradients(self, state: Any, batches: Any) -> jax.Array:
        """<g_a, g_b>, ||g_a||^2 and ||g_b||^2 of two minibatches, float32 [3]."""
        a, b = (self._gradient(state, jax.tree.map(lambda x, i=i: x[i], batches)) for i in (0, 1))
        return jnp.stack([optax.tree.vdot(*pair) for pair in ((a, b), (a, a), (b, b))])

    def _compare_pairs(self, state: Any, seed: int, step: int) -> np.ndarray:
        """What `_compare_gradients` returns for each of the pairs, [pairs, 3]."""
        count = len(jax.tree.leaves(self._examples)[0])
        rng = np.random.default_rng([seed, step])
        rows = []
        for _ in range(self._settings["num_pairs"]):
            if self._settings["sampling"] == "disjoint":
                ids = rng.choice(count, (2, self._batch_size), replace=False)
            else:
                ids = np.stack([rng.choice(count, self._batch_size, replace=False)
                                for _ in range(2)])
            batches = jax.tree.map(lambda x, ids=ids: x[ids], self._examples)
            rows.append(self._compare(state, batches))
            if must_block_each_step(self._mesh):
                jax.block_until_ready(rows[-1])
        return np.stack(jax.device_get(rows)).astype(np.float64)


def save(findings: Findings, directory: str | os.PathLike, step: int) -> None:
    """Writes the arrays of a step into a folder."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    np.savez(directory / f"step_{step}.npz", **findings.arrays)
