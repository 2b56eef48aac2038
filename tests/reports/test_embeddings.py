import json

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from nfnets_jax.reports import embeddings, figures, views

RED = to_rgb("tab:red")


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, before they are."""
    kept, save = [], figures.save

    def keep(figure, path):
        kept.append(figure)
        save(figure, path)

    monkeypatch.setattr(figures, "save", keep)
    return kept


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def lines(axes):
    return {line.get_label(): np.asarray(line.get_ydata(), float) for line in axes.get_lines()}


def test_spectra_and_spread_are_those_of_normalized_embeddings(tmp_path, drawn):
    # Classes at the corners of a simplex: 3 equal directions, and a 4th that centring takes away.
    corners = 5.0 * np.eye(4)[np.arange(40) % 4]
    embeddings.plot(corners, gaussian(40, 8), tmp_path / "plot.png", "run")
    spectrum, spread, _ = drawn[0].axes
    # Covariance I / 4 - 1 / 16 has 3 eigenvalues 1/4; what rounding leaves is cut at 1e-8.
    np.testing.assert_allclose(lines(spectrum)["features"][:3], 0.5, rtol=1e-6)
    assert lines(spectrum)["features"][3] < 1e-7
    assert len(lines(spectrum)["projections"]) == 8
    # Each variance is 1/4 - 1/16, relative to 1 / sqrt(4).
    np.testing.assert_allclose(lines(spread)["features"], 2 * np.sqrt(3 / 16), rtol=1e-6)
    projections = lines(spread)["projections"]
    assert np.all(np.diff(projections) <= 0) and projections[0] > projections[-1]
    assert drawn[0].get_suptitle() == "run"
    assert to_rgb(drawn[0]._suptitle.get_color()) != RED


def test_the_plane_holds_most_variance_and_a_collapsed_run_is_a_red_dot(tmp_path, drawn):
    flat = np.zeros((60, 5), np.float32)
    flat[:, 1:4] = gaussian(60, 3) * np.array([0.01, 1.0, 0.3])
    labels = np.arange(60) % 3
    embeddings.plot(flat, flat, tmp_path / "plot.png", "run", labels=labels)
    embeddings.plot(flat, 1e-3 * flat + 1.0, tmp_path / "plot.png", "run", verdict="COLLAPSED")
    healthy, collapsed = (figure.axes[2].collections[0] for figure in drawn)
    points = np.asarray(healthy.get_offsets())
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    assert points.var(axis=0).sum() == pytest.approx(unit.var(axis=0).sum(), rel=1e-2)
    assert points[:, 0].var() > points[:, 1].var()
    np.testing.assert_array_equal(healthy.get_array(), labels)
    assert np.abs(collapsed.get_offsets()).max() < 0.01
    assert drawn[1].axes[2].get_xlim() == (-1, 1)  # so that a small spread looks small
    assert drawn[1].get_suptitle() == "run\nCOLLAPSED"
    assert to_rgb(drawn[1]._suptitle.get_color()) == RED


def write_metrics(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_curves_show_what_was_logged_and_shade_the_collapse(tmp_path, drawn):
    records = [dict(step=step, kind="train", loss=1.0 / step) for step in (10, 20, 30, 40)]
    records += [dict(step=step, kind="test", knn_accuracy=0.5, negative_cosine=cosine)
                for step, cosine in ((10, 0.5), (20, 0.995), (30, 0.99), (40, 0.2))]
    embeddings.plot_curves(write_metrics(tmp_path / "metrics.jsonl", records), tmp_path / "c.png")
    panels = {axes.get_title(): axes for axes in drawn[0].axes if axes.axison}
    assert list(panels) == ["loss", "accuracy of the probes", "cosine of projections"]
    np.testing.assert_allclose(lines(panels["loss"])["train"], [0.1, 0.05, 1 / 30, 0.025])
    np.testing.assert_allclose(
        lines(panels["cosine of projections"])["test negative cosine"], [0.5, 0.995, 0.99, 0.2])
    for axes in panels.values():
        # Only the measurement above 0.99, from the one before it.
        assert [(span.get_x(), span.get_width()) for span in axes.patches] == [(10, 10)]
    assert drawn[0].get_suptitle() == ""


def test_curves_of_a_run_that_ended_collapsed_say_so(tmp_path, drawn):
    record = dict(step=50, kind="test", negative_cosine=0.9999)
    embeddings.plot_curves(write_metrics(tmp_path / "metrics.jsonl", [record]), tmp_path / "c.png")
    assert drawn[0].get_suptitle().startswith("COLLAPSED")
    span, = drawn[0].axes[0].patches
    assert (span.get_x(), span.get_width()) == (0, 50)


def test_curves_of_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing has been logged yet"):
        embeddings.plot_curves(write_metrics(tmp_path / "metrics.jsonl", []), tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()


def test_views_keep_their_brightness(tmp_path, drawn):
    images = np.full((3, 4, 6, 1), 51, np.uint8)
    first, second = np.full((3, 8, 8, 1), 0.6), np.full((3, 8, 8, 1), 1.0)
    views.plot(images, first, second, tmp_path / "views.png")
    assert [axes.get_ylabel() for axes in drawn[0].axes[::3]] == ["image", "view 1", "view 2"]
    pixels = np.asarray(Image.open(tmp_path / "views.png").convert("RGB"), int)
    height, width, _ = pixels.shape
    for row, value in enumerate((51, 153, 255)):
        at = drawn[0].axes[3 * row + 1].get_position()
        x, y = (at.x0 + at.x1) / 2, 1 - (at.y0 + at.y1) / 2
        # Each row is of one grey, which drawing each on a scale of its own would make black.
        assert np.abs(pixels[int(y * height), int(x * width)] - value).max() <= 1


def test_views_keep_their_colours(tmp_path, drawn):
    red, blue = np.zeros((2, 2, 4, 4, 3), np.float32)
    red[..., 0], blue[..., 2] = 1.0, 1.0
    views.plot((255 * red).astype(np.uint8), red, blue, tmp_path / "views.png")
    shown = [np.asarray(axes.get_images()[0].get_array(), float) for axes in drawn[0].axes]
    assert len(shown) == 6
    for image, color in zip(shown, np.repeat(np.eye(3)[[0, 0, 2]], 2, axis=0), strict=True):
        np.testing.assert_allclose(image, np.broadcast_to(color, (4, 4, 3)))
