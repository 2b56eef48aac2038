import math
import time
from typing import NamedTuple

import numpy as np
import pytest

from nfnets_jax.analysis import rate_scaling, scoring


class Table(NamedTuple):
    rows: list
    varied: tuple
    base: dict


BASE = {"batch_size": 64, "optimizer": {"learning_rate": 0.1, "momentum": 0.9}}


def run(rate, seed, value, status="done", metric="test_accuracy", **fields):
    return {"optimizer.learning_rate": rate, "seed": seed, "status": status, metric: value,
            **fields}


def table(rows, *fields, base=BASE):
    return Table(rows, ("optimizer.learning_rate", "seed", *fields), base)


def curve(values, metric="test_accuracy"):
    """A sweep over learning rates 2**0, 2**1, ... with the values of the seeds of each."""
    return table([run(2.0**i, seed, value, metric=metric)
                  for i, seeds in enumerate(values) for seed, value in enumerate(seeds)])


def test_best_k_is_the_mean_of_the_k_largest():
    values = [0.7, 0.9, 0.4, 0.8]

    def cell(k):
        return scoring.score(curve([values]), best_k=k).groups[0].cells[0]

    assert cell(1).score == 0.9
    assert math.isnan(cell(1).score_std)
    assert cell(3).score == pytest.approx(0.8)
    assert cell(3).score_std == pytest.approx(0.1)
    assert cell(3).standard_error == pytest.approx(0.1 / math.sqrt(3))
    assert [row["seed"] for row in cell(2).chosen] == [1, 3]
    for k in (None, 4):
        assert cell(k).score == cell(k).mean == pytest.approx(0.7, rel=1e-15)
        assert cell(k).standard_error == pytest.approx(np.std(values, ddof=1) / 2)
    # The plain mean and its error never depend on k.
    assert cell(1).mean == pytest.approx(0.7)
    assert cell(1).mean_standard_error == pytest.approx(np.std(values, ddof=1) / 2)


def test_of_a_loss_the_smallest_count():
    scores = scoring.score(curve([[3.0, 1.0, 2.0], [5.0, 5.0, 0.5]], "test_loss"), best_k=2)
    assert (scores.metric, scores.larger_is_better) == ("test_loss", False)
    first, second = scores.groups[0].cells
    assert (first.score, second.score) == (1.5, 2.75)
    assert scores.groups[0].best == 0


def test_neither_the_order_of_seeds_nor_of_rows_matters():
    rng = np.random.default_rng(0)
    values = rng.uniform(size=(5, 7))
    shuffled = rng.permuted(values, axis=1)
    rows = list(curve(shuffled).rows)
    rng.shuffle(rows)
    one, two = (scoring.score(t, best_k=4).groups[0] for t in (curve(values), table(rows)))
    assert [c.learning_rate for c in two.cells] == [1, 2, 4, 8, 16]
    assert [c.score for c in one.cells] == [c.score for c in two.cells]
    assert (one.best, one.interval, one.edge) == (two.best, two.interval, two.edge)


@pytest.mark.parametrize("metric, classes, expected",
                         [("test_accuracy", 10, 0.1), ("test_accuracy", None, 0.0),
                          ("test_loss", 10, math.inf), ("test_test_error", None, math.inf)])
def test_a_diverged_run_scores_chance_and_a_dead_one_what_it_measured(metric, classes, expected):
    rows = [run(1.0, 0, 0.9, metric=metric), run(1.0, 1, 0.05, "dead", metric),
            run(1.0, 2, 0.95, "diverged", metric)]
    cell, = scoring.score(table(rows), "test", 2, classes).groups[0].cells
    assert cell.values.tolist() == [0.9, 0.05, expected]
    assert cell.mean == pytest.approx((0.95 + expected) / 3)
    if metric == "test_accuracy":  # one of the best two, as the dead one is below chance
        assert cell.score == pytest.approx((0.9 + max(0.05, expected)) / 2)
    else:
        assert cell.score == pytest.approx(0.475)
    assert {s: n for s, n in cell.counts.items() if n} == {"done": 1, "dead": 1, "diverged": 1}


@pytest.mark.parametrize("statuses, state", [
    (["done", "done", "diverged"], "scored"),
    (["done", "dead", "crashed"], "scored"),
    (["done", "diverged", "diverged"], "failed"),
    (["done", "diverged", "missing"], "unfinished"),
    (["done", "diverged", "crashed"], "unfinished"),
    (["diverged", "diverged", "missing"], "failed"),
    (["skipped", "skipped", "skipped"], "skipped"),
    (["diverged", "skipped", "skipped"], "skipped"),
])
def test_a_cell_needs_k_runs_that_survive(statuses, state):
    rows = [run(1.0, i, 0.5 if s in ("done", "dead") else None, s) for i, s in enumerate(statuses)]
    rows += [run(2.0, i, 0.4) for i in range(3)]
    group, = scoring.score(table(rows), best_k=2).groups
    assert group.cells[0].state == state
    assert math.isnan(group.cells[0].score) == (state != "scored")
    assert group.best == (0 if state == "scored" else 1)


def test_a_finished_run_without_a_finite_loss_has_not_survived():
    rows = [run(1.0, 0, 0.5, metric="test_loss"), run(1.0, 1, None, metric="test_loss")]
    cell, = scoring.score(table(rows), "test_loss").groups[0].cells
    assert cell.state == "failed" and cell.values.tolist() == [0.5, math.inf]


def test_the_interval_is_one_standard_error_of_the_best():
    # The best has values 0.9 +- 0.02, so a standard error of 0.02 / sqrt 2 = 0.01414.
    best = [0.88, 0.92, 0.9]
    std_error = 0.02 / math.sqrt(3)
    inside, outside = 0.9 - 0.99 * std_error, 0.9 - 1.01 * std_error
    group, = scoring.score(curve([[outside] * 3, [inside] * 3, best, [outside] * 3])).groups
    assert group.optimum.learning_rate == 4.0 and group.interval == (2.0, 4.0)
    assert group.edge is None
    # A wide error of another cell changes nothing, and the interval spans what lies between.
    group, = scoring.score(curve([[inside] * 3, [0.0, 1.0, 0.5], best, [0.0, 1.0, 0.5]])).groups
    assert group.interval == (1.0, 4.0)
    losses = [[-x for x in seeds] for seeds in ([outside] * 3, [inside] * 3, best)]
    group, = scoring.score(curve(losses, "test_loss")).groups
    assert group.interval == (2.0, 4.0)


def test_one_seed_has_no_error_and_no_interval_but_itself():
    group, = scoring.score(curve([[0.3], [0.5], [0.4999]])).groups
    assert math.isnan(group.optimum.standard_error) and group.interval == (2.0, 2.0)


def test_an_optimum_on_the_edge_asks_for_more_learning_rates():
    def group(values):
        return scoring.score(curve([[v] for v in values])).groups[0]

    assert group([0.9, 0.5, 0.1]).edge == "low"
    assert scoring.suggest_learning_rates(group([0.9, 0.5, 0.1]), 2) == [0.5, 0.25]
    assert group([0.1, 0.5, 0.9]).edge == "high"
    assert scoring.suggest_learning_rates(group([0.1, 0.5, 0.9]), 3) == [8.0, 16.0, 32.0]
    assert group([0.1, 0.9, 0.5]).edge is None
    assert scoring.suggest_learning_rates(group([0.1, 0.9, 0.5]), 2) == []
    assert group([0.9]).edge is None
    # Diverged beyond the best is not an edge; diverged everywhere asks for smaller ones.
    failing = table([run(1.0, 0, 0.1), run(2.0, 0, 0.2), run(4.0, 0, None, "diverged")])
    assert scoring.score(failing).groups[0].edge is None
    rows = [run(2.0**i, 0, None, "diverged", batch_size=8) for i in range(3)]
    rows += [run(1.0, 0, 0.5, batch_size=16)]
    first, second = scoring.score(table(rows, "batch_size")).groups
    assert (first.best, first.edge, second.edge) == (None, "low", None)
    assert scoring.suggest_learning_rates(first, 1) == [0.5]


@pytest.mark.parametrize("a", [-3, 2])
def test_rescaling_the_loss_rescales_the_optimum(a):
    # Loss times 2**a with learning rate over 2**a is the same trajectory.
    values = np.random.default_rng(1).uniform(size=(6, 4))
    plain = curve(values)
    scaled = table([{**row, "optimizer.learning_rate": row["optimizer.learning_rate"] / 2.0**a}
                    for row in plain.rows])
    one, two = (scoring.score(t, best_k=3).groups[0] for t in (plain, scaled))
    assert two.optimum.learning_rate == one.optimum.learning_rate / 2.0**a
    assert two.interval == tuple(rate / 2.0**a for rate in one.interval)


def test_temperature_and_effective_rate():
    group, = scoring.score(curve([[0.5]])).groups
    assert group.effective_rate(1.0) == pytest.approx(10.0)
    assert group.temperature(1.0) == pytest.approx(10.0 / 64)
    rows = [run(1.0, 0, 0.5, batch_size=8, **{"optimizer.momentum": 0.5})]
    group, = scoring.score(table(rows, "batch_size", "optimizer.momentum")).groups
    assert group.temperature(2.0) == 2.0 / (8 * 0.5)
    # A simulation has neither.
    group, = scoring.score(table([run(1.0, 0, 0.5)], base={})).groups
    assert (group.effective_rate(2.0), group.temperature(2.0)) == (2.0, None)
    # A base learning rate is one for 256 examples, so dividing by the batch would be wrong.
    rows = [{"optimizer.base_learning_rate": 0.2, "seed": 0, "status": "done", "test_loss": 1.0}]
    byol = Table(rows, ("optimizer.base_learning_rate", "seed"),
                 {"batch_size": 64, "optimizer": {"momentum": 0.9}})
    group, = scoring.score(byol).groups
    assert group.optimum.learning_rate == 0.2 and group.temperature(0.2) is None


def test_groups_are_all_fields_but_learning_rate_and_seed():
    rows = [run(rate, seed, batch + rate, batch_size=batch, **{"network.name": name})
            for name in ("a", "b") for batch in (8, 16) for rate in (1.0, 2.0) for seed in (0, 1)]
    scores = scoring.score(table(rows, "batch_size", "network.name"))
    assert [tuple(g.fields.values()) for g in scores.groups] == [
        (8, "a"), (16, "a"), (8, "b"), (16, "b")]
    assert all(len(g.cells) == 2 and len(g.cells[0].rows) == 2 for g in scores.groups)
    found = scoring.lines(scores.groups, "batch_size")
    assert [others for others, _ in found] == [{"network.name": "a"}, {"network.name": "b"}]
    assert [[g.batch_size for g in groups] for _, groups in found] == [[8, 16]] * 2


def test_a_sweep_without_learning_rates_or_seeds_has_one_cell_for_each_group():
    rows = [{"network.depth": d, "status": "done", "test_loss": 1 / d} for d in (1, 2, 4)]
    scores = scoring.score(Table(rows, ("network.depth",), BASE))
    assert [g.optimum.score for g in scores.groups] == [1.0, 0.5, 0.25]
    assert {g.optimum.learning_rate for g in scores.groups} == {0.1}
    without = scoring.score(Table(rows, ("network.depth",), {}))
    assert without.rate_field is None and without.groups[0].interval is None


def test_what_a_selection_means():
    rows = [run(1.0, 0, 0.5, train_loss=1.0, valid_loss=2.0, test_loss=3.0)]
    t = table(rows)
    assert scoring.selection_metric(t, "test") == "test_accuracy"
    assert scoring.selection_metric(t, "valid") == "valid_loss"
    assert scoring.selection_metric(t, "train_loss") == "train_loss"
    with pytest.raises(ValueError, match="select_on='valid_accuracy': no run has it; there are "
                                         "test_accuracy, train_loss, valid_loss, test_loss"):
        scoring.selection_metric(t, "valid_accuracy")
    with pytest.raises(ValueError, match="no run has ended"):
        scoring.score(table([run(1.0, 0, None, "missing")]))
    with pytest.raises(ValueError, match="best_k=2: there are 1 seeds; use 1 to 1"):
        scoring.score(t, best_k=2)


def test_mean_and_error_of_another_metric():
    rows = [{"train_loss": value} for value in (1.0, 2.0, 6.0, None)]
    mean, error = scoring.mean_and_error(rows, "train_loss")
    assert mean == 3.0 and error == pytest.approx(math.sqrt(7.0 / 3))


# The fit of the line and the plateau.


def test_an_exact_line_with_a_plateau_is_found():
    x = np.arange(3.0, 12.0)
    y = np.minimum(-6 + x, 3)  # min(2**-6 B, 8)
    for slope in (None, 1.0):
        fit = rate_scaling.fit(x, y, slope)
        assert (fit.slope, fit.plateau, fit.break_at) == pytest.approx((1.0, 3.0, 9.0), abs=1e-12)
        np.testing.assert_allclose(fit(x), y, atol=1e-12)
    fit = rate_scaling.fit(x, np.minimum(1 + 0.5 * x, 4.25))
    assert (fit.slope, fit.plateau, fit.break_at) == pytest.approx((0.5, 4.25, 6.5), abs=1e-12)


def test_a_line_shows_no_plateau_and_a_plateau_no_slope():
    x = np.arange(3.0, 10.0)
    line = rate_scaling.fit(x, 2 * x - 6)
    assert line.slope == pytest.approx(2.0)
    assert np.isnan(line.plateau) and np.isnan(line.break_at)
    np.testing.assert_allclose(line(x), 2 * x - 6, atol=1e-12)
    flat = rate_scaling.fit(x, np.full(7, 1.5))
    assert flat.plateau == 1.5 and np.isnan(flat.slope) and np.isnan(flat.break_at)
    falling = rate_scaling.fit(x, -x)  # best by a constant, as the slope is not negative
    assert falling.plateau == pytest.approx(-6.0) and np.isnan(falling.slope)


def test_the_fit_is_the_least_of_a_brute_search_and_leaves_nans_out():
    rng = np.random.default_rng(0)
    x = np.array([3.0, 4, 5, 6, 8, 9])
    y = np.minimum(x - 6, 0) + 0.4 * rng.normal(size=(20, 6))
    y[3, 2] = np.nan
    fit = rate_scaling.fit(x, y)
    for i in range(20):
        use = np.isfinite(y[i])

        def square(b, i=i, use=use):
            design = np.stack([np.ones(use.sum()), np.minimum(x[use] - b, 0)], 1)
            solution = np.linalg.lstsq(design, y[i, use], rcond=None)[0]
            return np.mean((y[i, use] - design @ solution)**2) if solution[1] >= 0 else np.inf

        least = min(square(b) for b in np.arange(4.0, 9.0001, 1 / 64))
        assert fit.residual[i]**2 == pytest.approx(min(least, np.var(y[i, use])), rel=1e-9)


def two_batches(values):
    """Batch 8 is best at 1. Batch 16 is best at 2 if these seeds have a positive mean, else 1."""
    rows = [run(rate, seed, score, batch_size=batch, metric="test_accuracy")
            for seed, value in enumerate(values)
            for batch, rate, score in ((8, 1.0, 0.5), (8, 2.0, 0.0), (16, 1.0, 0.5),
                                       (16, 2.0, 0.5 + value))]
    return scoring.score(table(rows, "batch_size"))


def test_bootstrap_errors_are_those_of_the_resampled_seeds():
    # A resample of these seeds prefers 2 unless it draws the third: probability (2/3)**3.
    scores = two_batches([0.1, 0.1, -0.4])
    p = (2 / 3)**3
    optima = rate_scaling.resample_optima(scores, scores.groups, resamples=20000)
    assert np.all(optima[:, 0] == 1.0)
    assert np.mean(optima[:, 1] == 2.0) == pytest.approx(p, abs=0.01)


def test_bootstrap_error_of_a_slope_against_its_formula():
    # log2 of the best learning rate is 0 at batch 8, and 1 or 2 at batch 16 with p = (2/3)**3.
    rows = [run(rate, seed, score, batch_size=batch)
            for seed, value in enumerate([0.1, 0.1, -0.4])
            for batch, rate, score in ((8, 1.0, 0.5), (8, 2.0, 0.0), (16, 2.0, 0.5),
                                       (16, 4.0, 0.5 + value))]
    scores = scoring.score(table(rows, "batch_size"))
    scaling = rate_scaling.fit_scaling(scores, scores.groups, resamples=4000)
    p = (2 / 3)**3
    assert scaling.fit.slope == pytest.approx(1.0)
    assert scaling.slope_error == pytest.approx(math.sqrt(p * (1 - p)), rel=0.03)
    assert np.isnan(scaling.plateau_error)


def test_bootstrap_repeats_itself_and_is_zero_without_noise():
    scores = two_batches([0.1, 0.2, 0.1])
    scaling = rate_scaling.fit_scaling(scores, scores.groups)
    assert scaling.fit.slope == pytest.approx(1.0)
    assert scaling.slope_error == pytest.approx(0.0, abs=1e-12)
    noisy = two_batches([0.1, 0.1, -0.4])
    first, second = (rate_scaling.resample_optima(noisy, noisy.groups) for _ in range(2))
    assert np.array_equal(first, second)


def test_resampling_counts_the_runs_that_survive():
    # k = 2 of 3, one diverged: a resample fails if it has the diverged one at least twice.
    rows = [run(1.0, s, 0.5 if s else None, "done" if s else "diverged") for s in range(3)]
    scores = scoring.score(table(rows), best_k=2)
    optima = rate_scaling.resample_optima(scores, scores.groups, 20000)
    assert np.mean(np.isnan(optima)) == pytest.approx(3 * (1 / 9) * (2 / 3) + 1 / 27, abs=0.01)


def test_a_study_of_880_runs_is_scored_and_resampled_quickly():
    rng = np.random.default_rng(0)
    rows = [run(rate, seed, 0.95 - 0.05 * abs(math.log2(64 * rate / batch)) + 0.01 * rng.normal(),
                batch_size=batch) for batch in 2**np.arange(3, 11)
            for rate in 2.0**np.arange(-6, 5) for seed in range(10)]
    started = time.monotonic()
    scores = scoring.score(table(rows, "batch_size"), best_k=8)
    scaling = rate_scaling.fit_scaling(scores, scores.groups)
    assert time.monotonic() - started < 10  # about half a second on an idle core
    assert scaling.fit.slope == pytest.approx(1.0, abs=0.02)
    assert scaling.slope_error < 0.05 and np.isnan(scaling.fit.plateau)
