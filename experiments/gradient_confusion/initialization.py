"""Cosines between the gradients of examples before training, of deep dense networks in float64.

    g(x) = W_n act(... act(W_1 x)),  x uniform on the unit sphere,  labels +-1 at random

without biases. The kinds of network:

    orthogonal    linear, square orthogonal matrices and a row of norm 1; squared loss (g - y)^2 / 2
    linear        linear, entries N(0, 1 / fan_in); squared loss
    tanh          the same matrices behind tanh; logistic loss log(1 + exp(-y g))
    relu          entries N(0, 2 / fan_in), the first N(0, 1 / d); ReLU; logistic loss

n counts all matrices. The theory of arXiv 1904.06963 counts those beyond the first, and sees it in
'orthogonal' at any n (theorem 6.1) and in the others get worse with n and better with the width
(theorem 4.1). Sizes and labels are our choice.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

NUM_EXAMPLES, DIM = 50, 64
KINDS = ("orthogonal", "linear", "tanh", "relu")


class Cosines(NamedTuple):
    """Of all pairs of examples, for each seed.

    Attributes:
      minimum: [seeds].
      std: [seeds].
    """

    minimum: np.ndarray
    std: np.ndarray


def measure(kind: str, *, num_matrices: int, width: int, seeds: Iterable[int]) -> Cosines:
    """Measures networks at initialization; each seed has weights and examples of its own.

    Args:
      kind: one of `KINDS`.
      num_matrices: n.
      width: of the hidden layers; `DIM` where they are orthogonal.
      seeds: as many networks.
    """
    found = []
    for seed in seeds:
        rng_data, rng_weights = (np.random.default_rng([which, seed]) for which in (0, 1))
        x, y = draw_examples(rng_data, NUM_EXAMPLES, DIM)
        matrices = draw_matrices(rng_weights, kind, [DIM] + [width] * (num_matrices - 1) + [1])
        gram = gram_matrix(kind, matrices, x, y)
        norms = np.sqrt(np.diag(gram))
        cosines = (gram / np.outer(norms, norms))[np.triu_indices(len(x), 1)]
        found.append((cosines.min(), cosines.std()))
    return Cosines(*np.array(found).T)


def draw_examples(
    rng: np.random.Generator, num_examples: int, dim: int
) -> tuple[np.ndarray, np.ndarray]:
    """x [n, d] uniform on the unit sphere and labels [n] of +-1."""
    x = rng.normal(size=(num_examples, dim))
    return x / np.linalg.norm(x, axis=-1, keepdims=True), rng.choice([-1.0, 1.0], num_examples)


def draw_matrices(
    rng: np.random.Generator, kind: str, sizes: Sequence[int]
) -> list[np.ndarray]:
    """The matrices [fan_out, fan_in] of a network whose layers have these sizes, input to output.

    Raises:
      ValueError: for an unknown kind, or hidden layers of kind='orthogonal' that are not square.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: use one of {', '.join(KINDS)}")
    if kind == "orthogonal":
        if len(set(sizes[:-1])) > 1:
            raise ValueError(f"sizes={list(sizes)}: orthogonal matrices are square; make all but "
                             f"the last {sizes[0]}")
        return [np.linalg.qr(rng.normal(size=(n, n)))[0][:m]
                for n, m in zip(sizes, sizes[1:], strict=False)]
    gain = 2.0 if kind == "relu" else 1.0
    return [rng.normal(size=(m, n)) * ((gain if i else 1.0) / n) ** 0.5
            for i, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False))]


def gram_matrix(
    kind: str, matrices: Sequence[np.ndarray], x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Inner products [N, N] of the gradients of the N losses in all matrices.

    A layer whose inputs are H [N, fan_in], and whose outputs have the gradients A [N, fan_out],
    adds (A A') * (H H'), so that no gradient is formed.

    Args:
      kind: one of `KINDS`.
      matrices: from `draw_matrices`.
      x, y: [N, d] and [N].
    """
    act = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0)}.get(kind, lambda z: z)
    slope = {"tanh": lambda h: 1 - h**2, "relu": np.sign}.get(kind, np.ones_like)
    inputs = [x]
    for matrix in matrices[:-1]:
        inputs.append(act(inputs[-1] @ matrix.T))
    outputs = (inputs[-1] @ matrices[-1].T)[:, 0]
    squared = kind in ("orthogonal", "linear")
    a = (outputs - y if squared else -y / (1 + np.exp(y * outputs)))[:, None]
    gram = np.zeros((len(x), len(x)))
    for i in reversed(range(len(matrices))):
        gram += (a @ a.T) * (inputs[i] @ inputs[i].T)
        if i:
            a = (a @ matrices[i]) * slope(inputs[i])
    return gram
