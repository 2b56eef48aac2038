"""Bounds of arXiv 1904.06963 against simulations in float64 and closed forms."""

import math

import numpy as np
import pytest

from nfnets_jax.analysis import confusion_theory as theory


def on_sphere(rng, *shape):
    x = rng.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def smallest_off_diagonal(gram):
    """Over the last two axes."""
    return np.where(np.eye(gram.shape[-1], dtype=bool), np.inf, gram).min((-2, -1))


def descend(x, targets, steps, learning_rate, replicas, rng):
    """SGD with one example a step from w = 0: gaps [1 + steps], and eta along all paths."""
    optimum = np.linalg.lstsq(x, targets, rcond=None)[0]
    best = np.mean((x @ optimum - targets) ** 2) / 2
    inner = x @ x.T
    w, gaps, confusion = np.zeros((replicas, x.shape[1])), [], 0.0
    for _ in range(steps + 1):
        residuals = w @ x.T - targets
        gaps.append(np.mean(residuals**2) / 2 - best)
        gram = residuals[:, :, None] * residuals[:, None, :] * inner
        confusion = max(confusion, -smallest_off_diagonal(gram).min())
        drawn = rng.integers(len(x), size=replicas)
        step = np.take_along_axis(residuals, drawn[:, None], 1) * x[drawn]
        w = w - learning_rate * step
    return np.array(gaps), confusion


@pytest.mark.parametrize("dim", [5, 40])
def test_theorem_31_is_respected_by_least_squares(dim):
    rng = np.random.default_rng(dim)
    x = on_sphere(rng, 20, dim)
    smoothness, pl_constant = theory.least_squares_constants(x)
    assert (smoothness, pl_constant) == (pytest.approx(1), pytest.approx(1))
    gaps, confusion = descend(x, rng.normal(size=20), 600, 1 / 20, 50, rng)
    constants = dict(num_examples=20, smoothness=smoothness, pl_constant=pl_constant,
                     learning_rate=1 / 20)
    bound = theory.gap_bound(gaps[0], np.arange(601), confusion=confusion, **constants)
    assert 0 < np.max(gaps[1:] / bound[1:]) < 1
    # N eta / (mu (2 - N L alpha)), here N eta; the rate is 1 - alpha / N.
    assert theory.gap_floor(confusion=confusion, **constants) == pytest.approx(20 * confusion)
    assert theory.contraction(**constants) == pytest.approx(1 - 1 / 400)
    assert bound[-1] == pytest.approx(gaps[0] * (1 - 1 / 400) ** 600 + 20 * confusion)


def test_orthonormal_inputs_decouple():
    expected = theory.orthonormal_loss(0.5, 40, num_examples=10, learning_rate=0.5)
    assert expected == pytest.approx(0.022113, abs=5e-7)
    rng = np.random.default_rng(0)
    x = np.linalg.qr(rng.normal(size=(12, 12)))[0][:10]
    targets = on_sphere(rng, 10) * math.sqrt(10)
    gaps, confusion = descend(x, targets, 40, 0.5, 5000, rng)
    assert gaps[0] == pytest.approx(0.5) and confusion < 1e-12
    np.testing.assert_allclose(
        gaps, theory.orthonormal_loss(0.5, np.arange(41), 10, 0.5), rtol=0.05)


def test_theorem_32_holds_corrected_and_fails_as_printed():
    # f_1 = f_2 = w^2 / 2: no confusion, and w shrinks by 0.9 a step.
    for steps, printed, corrected, smallest in (
            (2, 0.5556, 5.556, 0.81), (5, 0.2222, 2.222, 0.4305)):
        problem = dict(initial_gap=0.5, steps=steps, num_examples=2, smoothness=1.0,
                       learning_rate=0.1, confusion=0.0)
        assert theory.printed_gradient_norm_bound(**problem) == pytest.approx(printed, abs=5e-5)
        assert theory.gradient_norm_bound(**problem) == pytest.approx(corrected, abs=5e-4)
        square = min(0.9 ** (2 * k) for k in range(steps))
        assert square == pytest.approx(smallest, abs=5e-5)
        assert printed < square < corrected
    assert theory.gradient_norm_bound(
        0.0, 1, num_examples=2, smoothness=1.0, learning_rate=0.1, confusion=0.3
    ) == pytest.approx(0.3 * 2 / 0.9)


@pytest.mark.parametrize("learning_rate", [0.0, 0.1, 0.2])
def test_learning_rates_outside_the_theorem_are_refused(learning_rate):
    with pytest.raises(ValueError, match=rf"learning_rate={learning_rate}: .*= 0.1$"):
        theory.contraction(20, 1.0, 1.0, learning_rate)


def test_constants_of_linear_models():
    x = np.array([[3.0, 4.0], [1.0, 0.0]])
    assert theory.least_squares_constants(x) == (25.0, 1.0)
    assert theory.logistic_smoothness(x) == 6.25
    # |grad|^2 / 2 = |x|^2 times the loss; the curvature of the logistic loss is at most 1 / 4.
    w, y = np.array([0.3, -0.2]), np.array([1.0, -2.0])
    residuals = x @ w - y
    squares = np.sum((residuals[:, None] * x) ** 2, -1)
    np.testing.assert_allclose(squares / 2, np.array([25, 1]) * residuals**2 / 2)


def test_inner_products_near_a_common_minimum():
    rng = np.random.default_rng(1)
    for _ in range(20):  # f = w' H w / 2 + l |w|^3 / 12, whose Hessian has the constant l / 2 ...
        hessians = [a @ a.T for a in rng.normal(size=(2, 4, 2))]
        w, lipschitz = rng.normal(size=4), rng.uniform(0, 2)
        grads = [h @ w + lipschitz / 4 * np.linalg.norm(w) * w for h in hessians]
        norms = [np.linalg.norm(h, 2) for h in hessians]
        bound = theory.inner_product_bound(np.linalg.norm(w), *norms, lipschitz / 2)
        assert abs(grads[0] @ grads[1]) <= bound
    # ... and is met where both Hessians are multiples of the identity, w' H w / 2 = h |w|^2 / 2.
    grads = [h * 2.0 + 0.5 * 4.0 / 2 for h in (3.0, 5.0)]
    assert theory.inner_product_bound(2.0, 3.0, 5.0, 0.5) == pytest.approx(grads[0] * grads[1])


def test_probabilities_of_architectures():
    few = dict(num_examples=3, depth=2)
    # zeta_0^4 (beta + 2)^4 = 16 * 4 * 256 = 16384.
    for confusion, width in ((5.0, 4000), (8.0, 900)):
        assert theory.gaussian_weights_probability(confusion, width=width, **few) == pytest.approx(
            1 - 9 * math.exp(-(width**2) * 2 * (confusion - 4) ** 2 / (64 * 16384)))
        assert theory.gaussian_weights_probability(
            confusion, width=10, dim=900, kappa=0.5, **few) == pytest.approx(
            1 - 2 * math.exp(-25)
            - 9 * math.exp(-(10 * 900 + 200) * confusion**2 / (16 * 16384)))
    assert theory.small_weights_probability(2.0, dim=10**6, **few) == pytest.approx(
        1 - 9 * math.exp(-(10**6) * 4 / (16 * 16384)))
    # A ball of eta / (4 zeta_0^2) = 1 / 16 is the largest that costs only the factor 64.
    for radius, gain in ((1 / 16, 0.0), (1 / 8, 8 * 2 * 8 * (1 / 8) / 2)):
        assert theory.small_weights_probability(
            2.0, dim=2, radius=radius, constant=2e6, **few) == pytest.approx(
            1 - 9 * math.exp(-2e6 * 2 * 4 / (64 * 16384) + gain))
    assert theory.orthogonal_weights_probability(0.3, num_examples=3, dim=100) == pytest.approx(
        1 - 9 * math.exp(-9))
    with pytest.raises(ValueError, match="confusion=4.0: .* more than 4; give dim"):
        theory.gaussian_weights_probability(4.0, width=10, **few)


def test_width_and_depth_move_the_gaussian_bound_as_the_paper_says():
    def failure(**changes):
        arguments = dict(confusion=100.0, num_examples=10, depth=4, width=30, dim=20) | changes
        return 1 - theory.gaussian_weights_probability(**arguments)

    assert failure(width=60) < failure() < failure(depth=8)


def test_certified_confusion_scales_as_the_bound():
    certified = theory.certified_confusion(0.01, num_examples=100, dim=50, depth=3)
    assert theory.small_weights_probability(
        certified, num_examples=100, dim=50, depth=3) == pytest.approx(0.99)
    fields = dict(num_examples=100, depth=3)
    assert certified / theory.certified_confusion(0.01, dim=200, **fields) == pytest.approx(2)
    depths = theory.certified_confusion(
        0.01, num_examples=100, dim=50, depth=np.array([10**4, 2 * 10**4]))
    assert depths[1] / depths[0] == pytest.approx(8, rel=1e-3)


def test_orthogonal_deep_linear_networks_have_the_gram_matrix_of_a_linear_model():
    rng = np.random.default_rng(2)
    x, y = on_sphere(rng, 9, 6), rng.normal(size=9)
    for depth in (1, 2, 5):
        factors = [np.linalg.qr(rng.normal(size=(6, 6)))[0] for _ in range(depth)]
        factors[-1] = factors[-1][:1]
        scale = (2 * depth) ** -0.5
        inputs = [x]
        for factor in factors:
            inputs.append(inputs[-1] @ factor.T)
        residuals = scale * inputs[-1][:, 0] - y
        behind, grads = np.eye(1), []
        for factor, h in zip(factors[::-1], inputs[-2::-1], strict=True):
            grads.append(np.einsum("n,i,nj->nij", residuals * scale, behind[0], h).reshape(9, -1))
            behind = behind @ factor
        jacobian = np.concatenate(grads, axis=1)
        np.testing.assert_allclose(
            jacobian @ jacobian.T, theory.orthogonal_linear_gram(x, residuals), atol=1e-14)


def test_law_of_the_smallest_cosine_on_the_sphere():
    # d = 3: cosines are uniform. d = 2: angles are.
    assert theory.opposed_probability(0.4, 3) == pytest.approx(0.3)
    assert theory.opposed_probability(0.5, 2) == pytest.approx(1 / 3)
    rng = np.random.default_rng(3)
    for dim, median in ((16, 0.720), (64, 0.395), (256, 0.202), (1024, 0.102)):
        predicted = theory.sphere_median(50, dim)
        assert predicted == pytest.approx(median, abs=1e-3)
        assert theory.sphere_probability(predicted, 50, dim) == pytest.approx(0.5)
        assert theory.sphere_union_bound(predicted, 50, dim) == pytest.approx(
            1 - math.log(2), abs=2e-3)
        if dim <= 64:
            x = on_sphere(rng, 200, 50, dim)
            measured = np.median(-smallest_off_diagonal(x @ x.swapaxes(1, 2)))
            assert measured == pytest.approx(predicted, rel=0.03)


def test_a_stationary_point_that_does_not_interpolate_is_confused():
    rng = np.random.default_rng(4)
    grads = rng.normal(size=(7, 5))
    grads -= grads.mean(0)
    gram = grads @ grads.T
    assert -smallest_off_diagonal(gram) >= theory.stationary_confusion(np.trace(gram), 7)
    simplex = np.eye(7) - 1 / 7
    gram = simplex @ simplex.T  # all of its pairs are alike
    assert -smallest_off_diagonal(gram) == pytest.approx(
        theory.stationary_confusion(np.trace(gram), 7))


def test_disjoint_batches_are_opposed_by_their_sampling_alone():
    assert theory.disjoint_cosine(128, 1437) == pytest.approx(-0.0978, abs=5e-5)
    assert theory.disjoint_cosine(128, 50_000) == pytest.approx(-0.0026, abs=5e-5)
    rng = np.random.default_rng(5)
    grads = rng.normal(size=(60, 500))
    grads -= grads.mean(0)
    order = np.argsort(rng.random((2000, 60)))
    one, other = (grads[part].sum(1) for part in (order[:, :12], order[:, 12:24]))
    cosines = np.sum(one * other, -1) / np.sqrt(np.sum(one**2, -1) * np.sum(other**2, -1))
    assert cosines.mean() == pytest.approx(theory.disjoint_cosine(12, 60), abs=0.004)
