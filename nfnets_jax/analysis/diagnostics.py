"""Gradient confusion, curvature and gradient noise of a task's loss, at any moment of training.

    measures = diagnostics.create(experiment, config, mesh)
    findings = measures.measure(state, seed, step)

What is measured is the loss of the training split without augmentation and weight decay, as a
function of the parameters (`Objective`). What is drawn at random is a function of (seed, step), so
that a run that was interrupted finds what an uninterrupted one finds.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from nfnets_jax.analysis import curvature, gradient_confusion, gradient_noise
from nfnets_jax.analysis import gram as gram_lib
from nfnets_jax.config import ConfigError
from nfnets_jax.tasks.task import Experiment
from nfnets_jax.training.mesh import (
    DATA,
    REPLICATED,
    map_over_devices,
    mean_over_devices,
    must_block_each_step,
    sharding,
)

# Examples of which all pairs are compared.
LARGEST_GRAM = 8192
# Name of a metric -> attribute of `gradient_confusion.Confusion`.
_CONFUSION = {
    "min_cosine": "min_cos",
    "p05_cosine": "p05",
    "median_cosine": "median",
    "mean_cosine": "mean",
    "std_cosine": "std",
    "negative_fraction": "frac_negative",
    "eta": "eta_raw",
    "num_pairs": "n_pairs",
    "num_zero_gradients": "num_zero",
    "effective_sample_size": "effective_sample_size",
}


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

    Raises:
      ConfigError: if the devices do not divide a minibatch.
    """

    def __init__(self, experiment: Experiment, settings: Mapping[str, Any], batch_size: int,
                 mesh: Mesh):
        self.measures = tuple(settings["measures"])
        self._objective = experiment.objective
        self._settings, self._batch_size, self._mesh = settings, batch_size, mesh
        devices = mesh.shape[DATA]
        if batch_size % devices:
            raise ConfigError(
                f"analysis.batch_size={batch_size}: must be a multiple of the {devices} devices "
                f"that share a minibatch, such as {-(-batch_size // devices) * devices}")
        self._placed: curvature.Batches | None = None
        self._compare = map_over_devices(
            self._compare_gradients, mesh, (REPLICATED, P(None, DATA)), REPLICATED)
        self._curve = map_over_devices(
            self._curvature, mesh, (REPLICATED, P(None, DATA), REPLICATED), REPLICATED)

    @functools.cached_property
    def _examples(self) -> Any:
        examples = self._objective.examples(self._settings["num_examples"])
        count = len(jax.tree.leaves(examples)[0])
        settings, of_examples = self._settings, self._settings["gradients"] == "examples"
        compares = {"gradient_confusion", "gradient_noise"} & set(self.measures)
        if of_examples and compares:
            self._check_examples(count)
        most = count // 2 if settings["sampling"] == "disjoint" and not of_examples else count
        if self._batch_size > most and (not of_examples or "curvature" in self.measures):
            raise ConfigError(
                f"analysis.batch_size={self._batch_size}: {count} examples allow at most {most} "
                f"with analysis.sampling={settings['sampling']}; use a smaller batch, or more of "
                "analysis.num_examples")
        if (self._batch_size == count and settings["sampling"] == "independent"
                and not of_examples and "gradient_noise" in self.measures):
            raise ConfigError(
                f"analysis.batch_size={self._batch_size}: minibatches of all {count} examples have "
                "no noise; use a smaller batch")
        return examples

    def _check_examples(self, count: int) -> None:
        """Refuses numbers of examples whose Gram matrix cannot be made."""
        devices = self._mesh.shape[DATA]
        if not 2 <= count <= LARGEST_GRAM:
            raise ConfigError(
                f"analysis.gradients='examples': compares all pairs of {count} examples; set "
                f"analysis.num_examples to a number from 2 to {LARGEST_GRAM}")
        if count % devices:
            raise ConfigError(
                f"analysis.gradients='examples': {count} examples do not divide among the "
                f"{devices} devices; set analysis.num_examples={count - count % devices}")

    def _batches(self, state: Any) -> curvature.Batches:
        """All examples, on the devices; for batch norms without those that fill no batch."""
        if self._placed is None:
            examples, size = self._examples, self._batch_size
            if self._is_training and self._objective.has_batch_statistics(state):
                count = len(jax.tree.leaves(examples)[0]) // size * size
                examples = jax.tree.map(lambda x: x[:count], examples)
            self._placed = jax.device_put(
                curvature.split(examples, size), sharding(self._mesh, P(None, DATA)))
        return self._placed

    @property
    def _is_training(self) -> bool:
        return self._settings["batch_norm"] == "batch"

    def is_due(self, step: int, total: int) -> bool:
        """Whether a step is the first, the last, or one of those in between."""
        every = self._settings["every"]
        return step in (0, total) or every > 0 and step % every == 0

    def measure(self, state: Any, seed: int, step: int) -> Findings:
        """Measures a state of the task.

        Raises:
          ConfigError: if the examples are too few, or single ones have no gradients of their own.
        """
        values, arrays = {}, {}
        state = jax.device_put(state, sharding(self._mesh, REPLICATED))
        if {"gradient_confusion", "gradient_noise"} & set(self.measures):
            if self._settings["gradients"] == "examples":
                confusion, noise = self._compare_examples(state)
            else:
                confusion, noise = self._compare_minibatches(state, seed, step)
            if "gradient_confusion" in self.measures:
                values |= {name: float(getattr(confusion, attribute))
                           for name, attribute in _CONFUSION.items()}
                arrays["cosines"] = confusion.cosines
            if "gradient_noise" in self.measures:
                values |= {name: float(value) for name, value in noise._asdict().items()}
                if self._objective.temperature is not None:
                    values["temperature"] = float(self._objective.temperature(state))
        if "curvature" in self.measures:
            size = sum(x.size for x in jax.tree.leaves(self._objective.params(state)))
            if self._settings["num_products"] > size:
                raise ConfigError(f"analysis.num_products={self._settings['num_products']}: must "
                                  f"be at most {size}, the number of parameters")
            key = jax.random.fold_in(jax.random.key(seed), step)
            loss, norm, ritz = jax.device_get(self._curve(state, self._batches(state), key))
            values |= {"loss": float(loss), "gradient_norm": float(norm),
                       "lambda_min": float(ritz.values[0]), "lambda_max": float(ritz.values[-1]),
                       "lambda_min_residual": float(ritz.residuals[0]),
                       "lambda_max_residual": float(ritz.residuals[-1])}
            arrays |= {"ritz_values": ritz.values, "ritz_weights": ritz.weights}
        return Findings(values, arrays)

    def _losses(self, state: Any, params: Any, batch: Any) -> jax.Array:
        return self._objective.losses(params, state, batch, self._is_training)

    def _curvature(self, state: Any, batches: curvature.Batches, key: jax.Array):
        """F, the norm of its gradient, and what Lanczos finds on its Hessian; traced."""
        losses, params = functools.partial(self._losses, state), self._objective.params(state)
        value, gradient = curvature.gradient(losses, params, batches, DATA)
        ritz = curvature.lanczos(
            lambda vector: curvature.hessian_product(losses, params, batches, vector, DATA),
            params, key, self._settings["num_products"])
        return value, optax.tree.norm(gradient), ritz._replace(vectors=())

    def _compare_gradients(self, state: Any, batches: Any) -> jax.Array:
        """Inner products [2, 2] of the gradients of two minibatches, [2, B / devices, ...]."""
        params = self._objective.params(state)

        def gradient(number):
            batch = jax.tree.map(lambda x: x[number], batches)
            return mean_over_devices(jax.grad(
                lambda params: jnp.mean(self._losses(state, params, batch)))(params))

        pair = gradient(0), gradient(1)
        return jnp.array([[optax.tree.vdot(a, b) for b in pair] for a in pair])

    def _compare_minibatches(self, state: Any, seed: int, step: int):
        """Confusion and noise of random pairs of minibatches."""
        count = len(jax.tree.leaves(self._examples)[0])
        rng, sampling = np.random.default_rng([seed, step]), self._settings["sampling"]
        products = []
        for _ in range(self._settings["num_pairs"]):
            if sampling == "disjoint":
                ids = rng.choice(count, (2, self._batch_size), replace=False)
            else:
                ids = np.stack([rng.choice(count, self._batch_size, replace=False)
                                for _ in range(2)])
            products.append(self._compare(
                state, jax.tree.map(lambda x, ids=ids: x[ids], self._examples)))
            if must_block_each_step(self._mesh):
                jax.block_until_ready(products[-1])
        products = np.stack(jax.device_get(products)).astype(np.float64)
        squares = np.diagonal(products, axis1=1, axis2=2)
        return (gradient_confusion.of_pairs(
                    products[:, 0, 1], squares, self._batch_size, sampling),
                gradient_noise.of_pairs(products, self._batch_size, count, sampling))

    def _compare_examples(self, state: Any):
        """Confusion and noise of all pairs of examples."""
        if self._is_training and self._objective.has_batch_statistics(state):
            raise ConfigError(
                "analysis.gradients='examples': with batch statistics an example has no gradient "
                "of its own; set analysis.batch_norm to moving_average, or gradients to "
                "minibatches")
        gram = jax.device_get(gram_lib.gram(
            jax.tree_util.Partial(self._losses, state), self._objective.params(state),
            self._examples, mesh=self._mesh))
        return gradient_confusion.per_example_confusion(gram), gradient_noise.of_gram(gram)
