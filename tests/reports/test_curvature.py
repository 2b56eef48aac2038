"""What the pictures of a Hessian show."""

import numpy as np
import pytest

from nfnets_jax.reports import curvature, figures


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved; they are not rendered."""
    saved = []
    monkeypatch.setattr(figures, "save", lambda figure, path: saved.append(figure))
    return saved


def test_density_names_the_ends_of_the_spectrum(drawn):
    curvature.plot_density(
        [[-0.25, 1.0, 7.5], [-0.125, 2.0, 8.5]], [[0.25, 0.5, 0.25]] * 2, "density.png", "digits")
    axes = drawn[0].axes[0]
    assert [text.get_text().split("= ")[1] for text in axes.texts] == ["-0.25", "8.5"]
    points, density = axes.lines[0].get_data()
    # Half of the weight is on 1 and 2.
    middle = (points > 0.5) & (points < 2.5)
    assert np.sum(density[middle]) * (points[1] - points[0]) == pytest.approx(0.5, abs=1e-4)


def test_tracks_show_eigenvalues_of_both_signs(drawn):
    track = curvature.Track([0, 10], [-20.0, 0.01], [30.0, 80.0], [5.0, 0.1])
    curvature.plot_tracks({"NAG": track}, "tracks.png", "digits")
    smallest, largest, norm = drawn[0].axes
    assert smallest.get_yscale() == "symlog" and norm.get_yscale() == "log"
    np.testing.assert_array_equal(smallest.lines[0].get_ydata(), [-20.0, 0.01])
    np.testing.assert_array_equal(largest.lines[0].get_ydata(), [30.0, 80.0])
    with pytest.raises(ValueError, match="must end in .png"):
        curvature.plot_tracks({"NAG": track}, "tracks.txt", "digits")
