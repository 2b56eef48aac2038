"""How far SGD on least squares stays below the bound of theorem 3.1 of arXiv 1904.06963."""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.analysis import confusion_theory


class Path(NamedTuple):
    """A problem, and what SGD did on it.

    Attributes:
      gaps: [steps + 1], F(w_k) - F*, mean of the replicas.
      bound: [steps + 1], theorem 3.1's.
      confusion: eta, the largest over the paths of all replicas.
    """

    gaps: np.ndarray
    bound: np.ndarray
    confusion: float


def measure(num_dimensions: int, *, seeds: Iterable[int], num_examples: int = 20,
            num_steps: int = 4000, replicas: int = 50) -> list[Path]:
    """SGD at alpha = 1 / N on inputs of length 1, so that L = mu = 1.

    Args:
      num_dimensions: d; from N on the problem can be interpolated.
      seeds: of the problems; the replicas of one differ in the examples they draw.
      num_examples: N.
      num_steps: T.
      replicas: over which the gap is averaged.
    """
    config = config_lib.default_config("linear_model")
    config.update({"inputs": "sphere", "num_examples": num_examples,
                   "num_dimensions": num_dimensions, "num_steps": num_steps})
    experiment = tasks.create(config_lib.check_config(config, 1))
    task, objective = experiment.task, experiment.objective
    examples = objective.examples(None)
    rate = 1 / num_examples

    def look(state):
        jacobian = jax.jacobian(objective.losses)(objective.params(state), state, examples, True)
        gram = jnp.matmul(jacobian, jacobian.T, precision=jax.lax.Precision.HIGHEST)
        smallest = jnp.min(jnp.where(jnp.eye(num_examples, dtype=bool), jnp.inf, gram))
        return task.evaluate(state, ())["loss"], -smallest

    @jax.jit
    def run(key):
        state = task.init(key, {"learning_rate": jnp.float32(rate)})

        def path(key):
            def step(state, key):
                return task.step(state, (), key)[0], look(state)

            last, seen = jax.lax.scan(step, state, jax.random.split(key, num_steps))
            return jax.tree.map(lambda some, one: jnp.append(some, one), seen, look(last))

        losses, confusion = jax.vmap(path)(jax.random.split(jax.random.fold_in(key, 1), replicas))
        return jnp.mean(losses, axis=0), jnp.max(confusion), state.inputs, state.labels

    return [_compare(rate, *(np.asarray(a, np.float64) for a in run(jax.random.key(seed))))
            for seed in seeds]


def _compare(rate, losses, confusion, x, y) -> Path:
    best = np.mean(np.square(x @ np.linalg.lstsq(x, y, rcond=None)[0] - y)) / 2
    smoothness, pl_constant = confusion_theory.least_squares_constants(x)
    bound = confusion_theory.gap_bound(
        losses[0] - best, np.arange(len(losses)), num_examples=len(x), learning_rate=rate,
        smoothness=smoothness, pl_constant=pl_constant, confusion=float(confusion))
    return Path(losses - best, bound, float(confusion))
