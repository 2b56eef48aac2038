"""Probes of frozen features that need no training: nearest neighbours and ridge regression."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.analysis.embeddings import l2_normalize


def knn_accuracy(
    bank: jax.Array,
    bank_labels: jax.Array,
    queries: jax.Array,
    labels: jax.Array,
    num_classes: int,
    *,
    k: int = 20,
    temperature: float = 0.07,
    chunk: int = 1024,
) -> float:
    """Share of the queries whose weighted nearest neighbours vote for their class.

    Each of the k rows of the bank with the largest cosine adds exp(cosine / temperature) to its
    class (Wu et al. 2018, arXiv 1805.01978). Of equally near rows the first in the
    bank, of equal votes the smallest class is taken.

    Args:
      bank: [M, d] features.
      bank_labels: int [M].
      queries: [N, d] features.
      labels: int [N].
      num_classes: labels are below it.
      k: at most M.
      temperature: of the votes.
      chunk: queries at a time; memory grows as chunk M.
    """
    bank, bank_labels = l2_normalize(jnp.asarray(bank)), jnp.asarray(bank_labels)
    correct = 0
    for start in range(0, len(labels), chunk):
        votes = _vote(bank, bank_labels, jnp.asarray(queries[start:start + chunk]),
                      num_classes, k, temperature)
        correct += int(np.sum(np.argmax(votes, axis=-1) == labels[start:start + chunk]))
    return correct / len(labels)


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _vote(bank, bank_labels, queries, num_classes, k, temperature):
    # In full float32, which is not the default of every device: cosines near 1 need it.
    cosines = jnp.matmul(l2_normalize(queries), bank.T, precision=jax.lax.Precision.HIGHEST)
    cosines, nearest = jax.lax.top_k(cosines, k)
    # Minus the largest possible cosine, so that no weight overflows.
    weights = jnp.exp((cosines - 1.0) / temperature)
    return jnp.sum(weights[..., None] * jax.nn.one_hot(bank_labels[nearest], num_classes), axis=1)


def ridge_accuracy(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    num_classes: int,
    *,
    regularization: float = 1e-3,
) -> float:
    """Accuracy of least squares on one-hot targets with an L2 penalty: a linear probe, solved.

    Minimises |X W - Y|^2 + regularization N |W|^2, where the columns of X are centred and then
    divided by one common number, their root mean square. In float64.

    Args:
      features: [N, d].
      labels: int [N].
      test_features: [M, d].
      test_labels: int [M].
      num_classes: labels are below it.
      regularization: of the penalty, for each example.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    x = features - mean
    scale = max(np.sqrt(np.mean(np.square(x))), 1e-12)
    x, test = x / scale, (test_features - mean) / scale
    targets = np.eye(num_classes)[labels]
    gram = x.T @ x + regularization * len(x) * np.eye(x.shape[1])
    w = np.linalg.solve(gram, x.T @ (targets - targets.mean(axis=0)))
    predicted = np.argmax(test @ w + targets.mean(axis=0), axis=-1)
    return float(np.mean(predicted == test_labels))
