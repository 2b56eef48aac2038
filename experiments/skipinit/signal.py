"""Variances of residual networks before training, measured and in closed form.

x^1 ~ N(0, 1); x^{l+1} = x^l + f^l(x^l) for l = 1, ..., d, where f^l is one matrix of independent
normal weights behind, where asked for, a norm and a ReLU. What differs between the kinds:

    none      as it stands: the variance doubles with each block
    bn        the branch's input is normalized over the batch: it adds 1 to the variance
    skipinit  the branch is multiplied by a number alpha
    sqrt2     the sum is divided by sqrt(2): the variance stays 1, the branch's share stays large

The closed forms hold for wide networks, uncorrelated branch and shortcut, and the linear network
(arXiv 2002.10444, section 3; its idea as read, the forms derived).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

KINDS = ("none", "bn", "skipinit", "sqrt2")


class Signal(NamedTuple):
    """What runs through a network of d blocks.

    Attributes:
      variance: [1 + d] of each channel over the batch, averaged over channels: of the input and of
        each block's output.
      second_moment: likewise, about 0.
      branch_variance: [d] of what each block adds to its input.
    """

    variance: np.ndarray
    second_moment: np.ndarray
    branch_variance: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """[d]: each branch's part of the variance, Var(f) / (Var(x) + Var(f))."""
        return self.branch_variance / (self.variance[:-1] + self.branch_variance)


def measure(
    kind: str, *, depth: int, width: int, batch_size: int, seed: int, alpha: float = 1.0,
    relu: bool = False,
) -> Signal:
    """Measures one network, in float32, whose range ends near 120 blocks of kind='none'.

    Of the same seed, 'none' and 'sqrt2' are the same network but for a factor at each depth. Where
    nothing is normalized, the variances of deep networks scatter: the signal of all examples comes
    to lie in few directions, and a matrix stretches each of them by chance.

    Args:
      kind: one of `KINDS`.
      depth: number of blocks.
      width: channels.
      batch_size: examples of independent N(0, 1) components.
      seed: of the weights and the examples.
      alpha: of kind='skipinit'.
      relu: whether each branch begins, behind its norm, with a ReLU; then its weights have variance
        2 / width instead of 1 / width.
    """
    moments = _measure(kind, depth, width, batch_size, alpha, relu, jax.random.key(seed))
    return Signal(*map(np.asarray, moments))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 5))
def _measure(kind, depth, width, batch_size, alpha, relu, key):
    scale = {"none": 1.0, "bn": 1.0, "skipinit": alpha, "sqrt2": 1.0}[kind]
    key_input, key_weights = jax.random.split(key)
    stddev = ((2.0 if relu else 1.0) / width) ** 0.5

    def mean_variance(x):
        return jnp.mean(jnp.var(x, axis=0))

    def block(x, key):
        h = x
        if kind == "bn":
            h = (x - jnp.mean(x, axis=0)) * jax.lax.rsqrt(jnp.var(x, axis=0) + 1e-5)
        if relu:
            h = jax.nn.relu(h)
        branch = scale * (h @ (stddev * jax.random.normal(key, (width, width))))
        x = x + branch
        if kind == "sqrt2":
            x = x * 2**-0.5
        return x, (mean_variance(x), jnp.mean(x**2), mean_variance(branch))

    x = jax.random.normal(key_input, (batch_size, width))
    _, (variance, second_moment, branch_variance) = jax.lax.scan(
        block, x, jax.random.split(key_weights, depth))
    first = jnp.stack([mean_variance(x), jnp.mean(x**2)])[:, None]
    outputs = jnp.concatenate([first, jnp.stack([variance, second_moment])], axis=1)
    return *outputs, branch_variance


def expected_variance(kind: str, depth: int, alpha: float = 1.0) -> np.ndarray:
    """[d + 1]: Var(x^l), in the order of `KINDS` 2^{l-1}, l, (1 + alpha^2)^{l-1} and 1.

    With alpha = 1 / sqrt(d) it ends at (1 + 1 / d)^d, near e.
    """
    blocks = np.arange(depth + 1.0)
    return {"none": 2.0**blocks, "bn": blocks + 1.0, "skipinit": (1.0 + alpha**2) ** blocks,
            "sqrt2": np.ones(depth + 1)}[kind]


def expected_shares(kind: str, depth: int, alpha: float = 1.0) -> np.ndarray:
    """[d]: 1 / (l + 1) with batch norm, alpha^2 / (1 + alpha^2) with a gain, 1 / 2 otherwise."""
    constant = {"none": 0.5, "skipinit": alpha**2 / (1.0 + alpha**2), "sqrt2": 0.5}
    if kind == "bn":
        return 1.0 / (np.arange(depth) + 2.0)
    return np.full(depth, constant[kind])


def path_lengths(shares: np.ndarray) -> np.ndarray:
    """Through how many branches the variance at the end has come.

    At each block the variance comes through the branch with its share s_l and past it with the
    rest: the law has the generating function prod_l (1 - s_l + s_l z), so mean sum s_l and variance
    sum s_l (1 - s_l). With batch norm the mean is 1/2 + ... + 1/(d+1), near log d; without a norm
    d / 2, whether or not the sum is divided.

    Args:
      shares: [d].

    Returns:
      [d + 1], the probability of 0, ..., d branches.
    """
    probabilities = np.ones(1)
    for share in shares:
        probabilities = np.convolve(probabilities, [1.0 - share, share])
    return probabilities
