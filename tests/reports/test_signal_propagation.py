import numpy as np
import pytest
from PIL import Image

from nfnets_jax import nets
from nfnets_jax.reports.signal_propagation import plot

BLUE, ORANGE = (31, 119, 180), (255, 127, 14)


def count_pixels(path, color):
    pixels = np.asarray(Image.open(path).convert("RGB"), int)
    return int(np.sum(np.abs(pixels - color).max(axis=-1) < 8))


@pytest.fixture
def expected():
    return nets.expected_variance("nf_resnet50")


@pytest.fixture
def measured(expected):
    return {name: np.nan_to_num(np.asarray(values)) for name, values in expected.items()}


def test_measured_values_are_dots_and_predictions_lines(tmp_path, measured, expected):
    plot(measured, None, tmp_path / "alone.png", "measured alone")
    plot(measured, expected, tmp_path / "both.png", "both")
    assert count_pixels(tmp_path / "alone.png", ORANGE) == 0
    # 50 dots and the legend's, each some 30 pixels large.
    assert 1000 < count_pixels(tmp_path / "alone.png", BLUE) < 4000
    # Three lines of over 1000 pixels length, behind the dots.
    assert count_pixels(tmp_path / "both.png", ORANGE) > 2000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.png", "both.png"]


def test_a_failed_plot_leaves_the_old_file_and_nothing_else(tmp_path, measured, expected):
    path = tmp_path / "plot.png"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="measured has no residual_variance"):
        plot({name: measured[name] for name in list(measured)[:2]}, None, path, "")
    wrong = nets.expected_variance("nf_resnet101")
    with pytest.raises(ValueError, match=r"has 34 values and measured has 17"):
        plot(measured, wrong, path, "")
    with pytest.raises(ValueError, match="must end in .png, .pdf, .svg"):
        plot(measured, expected, tmp_path / "plot.txt", "")
    with pytest.raises(ValueError):
        plot(measured, expected, path, "$unfinished_{math$")
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]


def test_an_exploded_network_can_be_plotted(tmp_path, measured, expected):
    measured["average_variance"][5:] = np.inf
    measured["residual_variance"][5:] = np.nan
    plot(measured, expected, tmp_path / "plot.svg", "exploded")
    assert "</svg>" in (tmp_path / "plot.svg").read_text()
