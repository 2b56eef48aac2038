"""What the theory of gradient confusion says, to check measurements against (arXiv 1904.06963).

N losses f_i, F their mean. The confusion of a point w is the smallest eta >= 0 for which

    <grad f_i(w), grad f_j(w)> >= -eta   for all i != j.

SGD takes one f_i at a time, uniformly, at the step size alpha. The theorems hold for the largest
eta along its path, where each f_i has gradients with Lipschitz constant L ('smoothness'); where
|grad f_i|^2 >= 2 mu (f_i - min f_i) too, mu is the 'pl_constant'.

Theorems are numbered as in the ICML version; what is marked as derived is not in the paper. Its
constants c are not given: with c = 1, our choice, only the scaling of a bound means something.
NumPy in float64; arguments may be arrays that broadcast.
"""

import numpy as np
from scipy import special


def contraction(num_examples, smoothness, pl_constant, learning_rate):
    """rho = 1 - (2 mu / N) (alpha - N L alpha^2 / 2), by which theorem 3.1 shrinks the gap a step.

    Raises:
      ValueError: unless 0 < alpha < 2 / (N L).
    """
    _check_learning_rate(num_examples, smoothness, learning_rate)
    gain = learning_rate - num_examples * smoothness * np.square(learning_rate) / 2
    return 1 - 2 * pl_constant / num_examples * gain


def gap_floor(num_examples, smoothness, pl_constant, learning_rate, confusion):
    """alpha eta / (1 - rho) = N eta / (mu (2 - N L alpha)), where theorem 3.1's bound ends."""
    rho = contraction(num_examples, smoothness, pl_constant, learning_rate)
    return learning_rate * confusion / (1 - rho)


def gap_bound(initial_gap, steps, *, num_examples, smoothness, pl_constant, learning_rate,
              confusion):
    """Theorem 3.1: E F(w_T) - F* <= rho^T (F(w_0) - F*) + alpha eta / (1 - rho).

    Args:
      initial_gap: F(w_0) - F*.
      steps: T.
      num_examples, smoothness, pl_constant, learning_rate: see the module; N L alpha < 2.
      confusion: eta, the largest along the path.
    """
    constants = num_examples, smoothness, pl_constant, learning_rate
    return (contraction(*constants) ** np.asarray(steps) * initial_gap
            + gap_floor(*constants, confusion))


def gradient_norm_bound(initial_gap, steps, *, num_examples, smoothness, learning_rate, confusion):
    """Theorem 3.2, corrected: min over k <= T of E|grad F(w_k)|^2, without the pl_constant.

    rho (F(w_1) - F*) / (alpha T) + rho eta with rho = 2 N / (2 - N L alpha). The alpha of the
    first term is derived; see `printed_gradient_norm_bound`.
    """
    rho = _rho(num_examples, smoothness, learning_rate)
    return rho * initial_gap / (learning_rate * steps) + rho * confusion


def printed_gradient_norm_bound(initial_gap, steps, *, num_examples, smoothness, learning_rate,
                                confusion):
    """Theorem 3.2 as it is printed, rho (F(w_1) - F*) / T + rho eta, which is no bound.

    Its first term lacks a 1 / alpha: f_1 = f_2 = w^2 / 2 at alpha = 0.1 is a counterexample.
    """
    rho = _rho(num_examples, smoothness, learning_rate)
    return rho * initial_gap / steps + rho * confusion


def inner_product_bound(distance, norm_i, norm_j, hessian_smoothness):
    """A bound of |<grad f_i, grad f_j>| near a point where both gradients are 0.

    r^2 H_i H_j + L_H r^3 (H_i + H_j) / 2 + L_H^2 r^4 / 4, so that Hessians of small norm have
    little confusion.

    Args:
      distance: r, from that point.
      norm_i, norm_j: spectral norms H of the Hessians of f_i and f_j there.
      hessian_smoothness: L_H, the Lipschitz constant of the Hessians.
    """
    r, lipschitz = distance, hessian_smoothness
    return (r**2 * norm_i * norm_j + lipschitz * r**3 * (norm_i + norm_j) / 2
            + lipschitz**2 * r**4 / 4)


def least_squares_constants(inputs):
    """(L, mu) of f_i = (x_i' w - y_i)^2 / 2: the largest and the smallest |x_i|^2 (derived).

    Args:
      inputs: x [N, d].
    """
    squares = np.sum(np.square(inputs), axis=-1)
    return squares.max(), squares.min()


def logistic_smoothness(inputs):
    """L of f_i = log(1 + exp(-y_i x_i' w)), y_i = +-1: the largest |x_i|^2 over 4 (derived).

    Args:
      inputs: x [N, d].
    """
    return np.max(np.sum(np.square(inputs), axis=-1)) / 4


def orthonormal_loss(initial_loss, steps, num_examples, learning_rate):
    """E F(w_T) of least squares on N orthonormal inputs, F(w_0) (1 - (2 a - a^2) / N)^T (derived).

    Gradients of different examples are orthogonal, so that a step changes one residual alone.
    """
    shrinkage = (2 * learning_rate - np.square(learning_rate)) / num_examples
    return initial_loss * (1 - shrinkage) ** np.asarray(steps)


def orthogonal_linear_gram(inputs, residuals):
    """Gram matrix of a deep linear network with orthogonal matrices: r_i r_j <x_i, x_j> / 2.

    The network is g(x) = gamma W_beta ... W_1 x with gamma = 1 / sqrt(2 beta), whose factors are
    orthogonal but for the last, a row of norm 1; the loss is (g - y)^2 / 2. Neither the depth nor
    the width remain (derived; theorem 6.1 is about this network).

    Args:
      inputs: x [N, d].
      residuals: r = g(x) - y, [N].
    """
    return np.outer(residuals, residuals) * (inputs @ inputs.T) / 2


def small_weights_probability(confusion, *, num_examples, dim, depth, radius=0.0, constant=1.0):
    """Theorem 5.1 and, for radius > 0, corollary 5.1: how probably eta is a bound for all pairs.

    Of a network with |W_p| <= 1 and data uniform on the unit sphere, at least
    1 - N^2 exp(-c d eta^2 / (16 zeta_0^4 (beta + 2)^4)); uniformly over a ball of weights 64 takes
    the place of 16 and, for radii above eta / (4 zeta_0^2), 8 d zeta_0^2 r / eta is added to the
    exponent. zeta_0 is 2 sqrt(beta). Negative where the bound says nothing.

    Args:
      confusion: eta.
      num_examples: N.
      dim: d, of the inputs.
      depth: beta, the number of matrices beyond the first; the experiments count layers otherwise.
      radius: r of the ball.
      constant: c, not given in the paper.
    """
    exponent = -constant * dim * np.square(confusion) / (16 * _scale(depth))
    if radius:
        exponent = exponent / 4 + np.where(
            radius > confusion / (16 * depth), 32 * dim * depth * radius / confusion, 0.0)
    return 1 - num_examples**2 * np.exp(exponent)


def gaussian_weights_probability(confusion, *, num_examples, depth, width, dim=None, kappa=1.0,
                                 constant=1.0):
    """Theorem 4.1, in its ICML form: the same with entries of W_p from N(0, 1 / (kappa fan_in)).

    For any data with |x| <= 1, at least
    1 - beta exp(-c kappa^2 l^2) - N^2 exp(-c l^2 beta (eta - 4)^2 / (64 zeta_0^4 (beta + 2)^4)),
    which says something for eta > 4 only; for data uniform on the sphere of dimension d the last
    exponent is -c (l d + l^2 beta) eta^2 / (16 zeta_0^4 (beta + 2)^4). The ICLR submission has d
    where this form has l^2 beta and l d + l^2 beta. W_0 has variance 1 / d.

    Args:
      confusion: eta; above 4 unless `dim` is given.
      num_examples: N.
      depth: beta.
      width: l, the largest.
      dim: d of data on the sphere; None for any data.
      kappa: 1 for variance 1 / fan_in, 1 / 2 for 2 / fan_in.
      constant: c, which stands for all three constants of the paper.

    Raises:
      ValueError: for eta <= 4 and any data.
    """
    if dim is None and np.any(np.asarray(confusion) <= 4):
        raise ValueError(f"confusion={confusion}: the bound for any data needs more than 4; give "
                         "dim for data on the sphere")
    if dim is None:
        exponent = width**2 * depth * np.square(confusion - 4) / (64 * _scale(depth))
    else:
        exponent = (width * dim + width**2 * depth) * np.square(confusion) / (16 * _scale(depth))
    return (1 - depth * np.exp(-constant * kappa**2 * width**2)
            - num_examples**2 * np.exp(-constant * exponent))


def orthogonal_weights_probability(confusion, *, num_examples, dim, constant=1.0):
    """Theorem 6.1: 1 - N^2 exp(-c d eta^2) for the network of `orthogonal_linear_gram`.

    Also that of linear models (v1 of the paper), for data uniform on the sphere.
    """
    return 1 - num_examples**2 * np.exp(-constant * dim * np.square(confusion))


def certified_confusion(failure, *, num_examples, dim, depth, constant=1.0):
    """The smallest eta of `small_weights_probability` (radius 0) at this probability of failure.

    16 beta (beta + 2)^2 sqrt(log(N^2 / failure) / (c d)) (derived): it grows as beta^3 and falls
    as d^(-1/2); the number itself depends on c.
    """
    log = np.log(num_examples**2 / failure)
    return 16 * depth * (depth + 2) ** 2 * np.sqrt(log / (constant * dim))


def opposed_probability(confusion, dim):
    """P(cos <= -eta) of two independent points, uniform on the unit sphere of dimension d.

    (1 + cos) / 2 has a Beta law, both of whose parameters are (d - 1) / 2.
    """
    half = (dim - 1) / 2
    return special.betainc(half, half, (1 - np.asarray(confusion)) / 2)


def sphere_probability(confusion, num_examples, dim):
    """P(all cosines of N points on the sphere >= -eta), as if the pairs were independent (derived).

    (1 - P(cos <= -eta))^{N (N - 1) / 2}. The gradients of linear models are the inputs up to sign
    and length, so it is their law, for random labels, too.
    """
    return (1 - opposed_probability(confusion, dim)) ** _pairs(num_examples)


def sphere_union_bound(confusion, num_examples, dim):
    """A lower bound of that probability with no assumption, 1 - N (N - 1) / 2 P(cos <= -eta)."""
    return 1 - _pairs(num_examples) * opposed_probability(confusion, dim)


def sphere_median(num_examples, dim):
    """The median of -min cos that follows from `sphere_probability`; near d^(-1/2) times a log."""
    half = (dim - 1) / 2
    return 1 - 2 * special.betaincinv(half, half, 1 - 0.5 ** (1 / _pairs(num_examples)))


def stationary_confusion(trace, num_examples):
    """tr G / (N (N - 1)): eta is no smaller where the gradients sum to 0 (derived).

    Only interpolation, where all gradients are 0, has no confusion at its optimum.

    Args:
      trace: sum of |grad f_i|^2.
      num_examples: N.
    """
    return trace / (num_examples * (num_examples - 1))


def disjoint_cosine(batch_size, num_examples):
    """-B / (N - B), the mean cosine of two disjoint batches of N examples (derived).

    Where all gradients sum to 0 and have no preferred direction. Independent batches have none.
    """
    return -batch_size / (num_examples - batch_size)


def _check_learning_rate(num_examples, smoothness, learning_rate) -> None:
    largest = 2 / (num_examples * np.asarray(smoothness))
    if np.any((learning_rate <= 0) | (learning_rate >= largest)):
        raise ValueError(f"learning_rate={learning_rate}: the theorem needs one above 0 and below "
                         f"2 / (N L) = {np.min(largest):g}")


def _rho(num_examples, smoothness, learning_rate):
    """Theorem 3.2's, which is not that of theorem 3.1."""
    _check_learning_rate(num_examples, smoothness, learning_rate)
    return 2 * num_examples / (2 - num_examples * smoothness * learning_rate)


def _scale(depth):
    """zeta_0^4 (beta + 2)^4."""
    return 16 * depth**2 * (depth + 2) ** 4


def _pairs(num_examples):
    return num_examples * (num_examples - 1) / 2
