import numpy as np
import pytest

from nfnets_jax.reports.quantized import Histogram, plot
from tests.reports.test_signal_propagation import BLUE, ORANGE, count_pixels

POINTS = np.arange(-1.0, 2.0)


def test_bars_are_shares_and_dots_the_law(tmp_path):
    spread, none = np.array([0.5, 0.25, 0.25]), np.zeros(3)
    for name, shares, law in (("low", none, None), ("half", spread, None),
                              ("all", np.array([0.0, 1.0, 0.0]), None), ("law", none, spread)):
        plot({"row": {"column": Histogram(POINTS, shares, law)}}, tmp_path / f"{name}.png")
    low, one = (count_pixels(tmp_path / f"{name}.png", BLUE) for name in ("low", "all"))
    # Shares that sum to 1 cover the same area, however they are spread.
    assert one > 10_000
    half = count_pixels(tmp_path / "half.png", BLUE)
    np.testing.assert_allclose(half - low, one - low, rtol=0.03)
    assert count_pixels(tmp_path / "low.png", ORANGE) == 0 < count_pixels(
        tmp_path / "law.png", ORANGE)


def test_rows_of_other_columns_and_other_formats_are_refused(tmp_path):
    one = Histogram(POINTS, np.ones(3) / 3)
    with pytest.raises(ValueError, match="the row 'b' has the columns"):
        plot({"a": {"x": one}, "b": {"y": one}}, tmp_path / "figure.png")
    with pytest.raises(ValueError, match="must end in .png"):
        plot({"a": {"x": one}}, tmp_path / "figure.gif")
    assert list(tmp_path.iterdir()) == []
