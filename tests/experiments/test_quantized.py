"""The study of quantized training: its sweeps, its figure and table, and what claims accept."""

import importlib

import numpy as np
import pytest

from experiments.claims import run_sweep
from experiments.quantized import (
    claims,
    digits,
    digits_learning_rate,
    methods,
    quadratic,
    results,
    wells,
)
from nfnets_jax import sweeps
from nfnets_jax.analysis import rounding_chain
from nfnets_jax.sweeps.plan import get_field, make_plan
from nfnets_jax.sweeps.table import Table
from nfnets_jax.tasks import quantized_walk

RATE, METHOD, BATCH = results.RATE, methods.METHOD, methods.BATCH


def config_and_sweep(file, variant=None):
    module = importlib.import_module(f"experiments.quantized.{file}")
    takes_variant = variant is not None and module.get_sweep.__code__.co_argcount
    config = module.get_config() if variant is None else module.get_config(variant)
    return config, module.get_sweep(variant) if takes_variant else module.get_sweep()


@pytest.mark.parametrize("file, variant, runs, programs", [
    ("wells", None, 20, 5), ("wells", "one", 20, 5), ("quadratic", None, 16, 16),
    ("digits", None, 25, 5), ("digits_learning_rate", None, 24, 8),
    ("digits_batch_size", "steps", 15, 3), ("digits_batch_size", "epochs", 50, 10),
    ("cifar", "vgg9", 5, 5), ("cifar", "vgg_bc", 5, 5), ("cifar", "resnet56", 5, 5),
    ("cifar", "wrn_56_2", 5, 5), ("cifar", "resnet56_cifar100", 5, 5), ("imagenet", None, 5, 5),
    ("exploration", None, 3, 3), ("batch_size", None, 8, 8), ("weight_decay", None, 2, 1)])
def test_sweeps(file, variant, runs, programs):
    plan = make_plan(*config_and_sweep(file, variant))
    assert (len(plan.cells), plan.num_given, len(plan.programs)) == (runs, runs, programs)


@pytest.mark.parametrize("file", ["wells", "digits_batch_size", "cifar"])
def test_wrong_variants_are_refused_with_what_to_use(file):
    with pytest.raises(ValueError, match="'vgg16': use "):
        importlib.import_module(f"experiments.quantized.{file}").get_config("vgg16")


def test_what_the_recalled_protocol_says():
    cells = make_plan(*config_and_sweep("cifar", "resnet56_cifar100")).cells
    assert [(cell.config["quantization"]["method"], cell.config["batch_size"])
            for cell in cells] == [("none", 128), ("binary_connect", 128), ("stochastic", 1024),
                                   ("stochastic", 128), ("deterministic", 128)]
    for cell in cells:
        config = cell.config
        assert config["dataset"]["name"] == "cifar100" and config["optimizer"]["name"] == "adam"
        np.testing.assert_allclose(np.multiply(config["schedule"]["drops"], 160), [82, 122])
        assert config["quantization"]["layers"] == "convolutions"
    overrides = digits_learning_rate.get_sweep()
    assert {run[RATE] * run["num_steps"] for run in overrides} == {21.36}


def make_table(config, overrides, metrics):
    """A finished sweep whose metrics are a function of the run."""
    plan = make_plan(config, overrides)
    rows = [{**{field: get_field(cell.config, field) for field in plan.varied}, "status": "done"}
            for cell in plan.cells]
    return Table([{**row, **metrics(row)} for row in rows], plan.varied, plan.base)


def test_a_small_sweep_of_walks_has_the_exact_laws():
    config = wells.get_config()
    config.num_walks, config.num_steps, config.num_discarded = 300, 300, 150
    found = run_sweep(config, sweeps.product(wells.METHODS[:1], {RATE: (1.0, 0.1)}), mapping="map")
    assert len(found.rows) == 2
    for row in found.rows:
        points, shares = results.shares_of(row)
        np.testing.assert_array_equal(points, np.arange(-10, 21) / 2)
        law = rounding_chain.stationary(rounding_chain.transition_matrix(
            points, results.slope(quantized_walk.wells(), points), row[RATE],
            rounding_chain.Gaussian(2.0)))
        assert rounding_chain.total_variation(shares, law) < 0.05


def exact_walks(row):
    """What long walks on the wells come to."""
    points, function = np.arange(-10, 21) / 2, quantized_walk.wells()
    values = np.asarray(function.value(points[:, None]), float)
    if row[METHOD] == "stochastic":
        shares = rounding_chain.stationary(rounding_chain.transition_matrix(
            points, results.slope(function, points), row[RATE], rounding_chain.Gaussian(2.0)))
    else:
        stays = row[METHOD] == "deterministic" and row[RATE] < 0.1
        shares = np.isin(points, [4.0] if stays else [4.5, 5.0]) / (1 if stays else 2)
    loss = shares @ values
    if row[RATE] == 1.0 and row[METHOD] == "binary_connect":
        loss = 2.6
    return {"test_mean_loss": loss, "cell": "",
            **{f"test_share_at_{x:g}": share for x, share in zip(points, shares, strict=True)}}


def test_claims_of_walks_hold_for_the_exact_laws_and_not_for_annealed_ones():
    sweep = wells.get_config(), wells.get_sweep()
    found = list(claims.annealing(make_table(*sweep, exact_walks)))
    assert [claim.holds for claim in found] == [True] * 6

    def annealed(row):
        as_one = row[METHOD] == "stochastic" and row[RATE] < 1
        return exact_walks({**row, METHOD: "binary_connect"} if as_one else row)

    found = list(claims.annealing(make_table(*sweep, annealed)))
    assert [claim.holds for claim in found] == [False, True, True, True, False, True]


def test_figure_of_walks(tmp_path):
    found = make_table(wells.get_config(), sweeps.product(
        wells.METHODS[:2], {RATE: (1.0, 0.01)}), exact_walks)
    results.draw_walks(found, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    found.rows[3]["status"] = "missing"
    with pytest.raises(ValueError, match="is missing; run the sweep to its end"):
        results.draw_walks(found, tmp_path / "figure.png")


def test_claims_of_floors():
    def excess(row, power=1.0):
        delta = row[claims.DELTA]
        floor = {"stochastic": 9 * delta**power, "none": 0.0}.get(row[METHOD], (
            2.5 * delta**2 if row[results.ROUNDING] == "deterministic" else 0.0))
        return {"test_loss_of_mean": 0.005 + floor, "test_mean_loss": 2 * floor + 0.02}

    sweep = quadratic.get_config(), quadratic.get_sweep()
    assert [claim.holds for claim in claims.floors(make_table(*sweep, excess))] == [True] * 4
    found = claims.floors(make_table(*sweep, lambda row: excess(row, power=2.0)))
    assert [claim.holds for claim in found] == [False, True, True, True]


def digits_metrics(row, errors):
    name = methods.identify(row, digits.BATCH)
    share = {"stochastic": 0.45, "big_stochastic": 0.3, "deterministic": 0.0}.get(name, 0.4)
    return {"test_accuracy": 1 - errors[name] / 100 + 0.001 * (row["seed"] - 2),
            "train_accuracy": 1.0, "train_loss": errors[name] / 50,
            "test_changed_fraction": share, "test_flips_per_weight": 2 * share,
            "test_changed_fraction_mlp/hidden_0": share}


def test_claims_and_table_of_digits():
    sweep = digits.get_config(), digits.get_sweep()
    errors = dict(zip(methods.LABELS, (1.0, 2.0, 5.0, 9.0, 25.0), strict=True))
    found = make_table(*sweep, lambda row: digits_metrics(row, errors))
    assert [claim.holds for claim in claims.order(found)] == [True] * 8
    assert results.markdown(found)[:4] == [
        "| method | batch size | test error | train error | train loss | changed | flips |",
        "|---|---|---|---|---|---|---|",
        "| float | 16 | 1.00 +- 0.16 | 0.00 | 0.0200 | 0.400 | 0.800 |",
        "| BC | 16 | 2.00 +- 0.16 | 0.00 | 0.0400 | 0.400 | 0.800 |"]
    errors |= {"stochastic": 5.5, "binary_connect": 0.9}
    holds = [claim.holds for claim in claims.order(
        make_table(*sweep, lambda row: digits_metrics(row, errors)))]
    assert holds == [False, True, False, True, False, True, True, True]


def test_claims_of_the_clock():
    def metrics(row, power):
        falls = power if row[METHOD] == "stochastic" else 0.6
        loss = 20 * row[RATE] ** falls
        curve = [{"step": i, "train_loss": 9.0 if i < 10 else loss} for i in range(20)]
        return {"curve": curve, "test_changed_fraction": 0.4, "test_flips_per_weight": 0.9}

    config, overrides = config_and_sweep("digits_learning_rate")
    for power, holds in ((0.1, True), (0.3, False)):
        found = claims.clock(make_table(config, overrides, lambda row, p=power: metrics(row, p)))
        assert [claim.holds for claim in found] == [True, True, True, holds]


def test_claims_of_batches():
    def metrics(row, power):
        return {"train_loss": 10 * row[BATCH] ** power, "test_accuracy": 0.94 + row[BATCH] / 8000,
                "test_changed_fraction_mlp/hidden_0": 0.4}

    config, overrides = config_and_sweep("digits_batch_size", "steps")
    for power, holds in ((-0.8, True), (-0.5, False)):
        found = claims.batches(make_table(config, overrides, lambda row, p=power: metrics(row, p)))
        assert [claim.holds for claim in found] == [holds, True, True]
