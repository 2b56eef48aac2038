import numpy as np
import pytest

from nfnets_jax.reports import gradient_confusion


def test_bandwidth_is_scotts():
    values = 0.2 * np.random.default_rng(0).normal(size=50)
    points, densities = gradient_confusion.density(values)
    width = np.std(values, ddof=1) * 50**-0.2
    kernels = np.exp(-0.5 * ((points[:, None] - values) / width) ** 2)
    expected = np.mean(kernels, 1) / (width * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(densities, expected, atol=1e-8)


def test_density_stays_within_the_range_of_cosines():
    # Half of each kernel lies beyond 1, and two points make it wide.
    points, densities = gradient_confusion.density(np.array([1.0, 1.0, 0.9, 0.6]))
    assert np.trapezoid(densities, points) == pytest.approx(1.0, abs=1e-4)


def test_figures_are_drawn(tmp_path):
    rng = np.random.default_rng(0)
    cosines = {"width 8": np.tanh(0.3 * rng.normal(size=200)), "no spread": np.zeros(5)}
    gradient_confusion.plot_cosines(cosines, tmp_path / "cosines.png")
    minima = {"plain": {8: [-0.5, -0.4], 64: [-0.2, -0.1]}}
    gradient_confusion.plot_minimum(minima, tmp_path / "minimum.png", "width")
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("cosines.png", "minimum.png"))
    with pytest.raises(ValueError, match="must end in"):
        gradient_confusion.plot_minimum(minima, tmp_path / "minimum.gif", "width")
