"""The study of citation growth: its sweeps, its table, and what claims accept."""

import importlib

import numpy as np
import pytest

from experiments.citation_growth import claims, classifier, growing, large, results
from nfnets_jax import config as config_lib
from nfnets_jax.sweeps.plan import make_plan
from nfnets_jax.sweeps.table import Table


@pytest.mark.parametrize("file, runs, programs", [
    ("growing", 40, 9), ("flat", 20, 5), ("blocks", 40, 5), ("replacement", 16, 2),
    ("exponents", 24, 2)])
def test_sweeps(file, runs, programs):
    module = importlib.import_module(f"experiments.citation_growth.{file}")
    plan = make_plan(module.get_config(), module.get_sweep())
    assert (len(plan.cells), plan.num_given, len(plan.programs)) == (runs, runs, programs)


def test_the_large_network():
    config = config_lib.check_config(large.get_config("with_replacement"), 1)
    assert config["sampler"] == "with_replacement" and config["arrivals"]["num_papers"] == 10**6
    with pytest.raises(ValueError, match="'lbm': use ba or with_replacement"):
        large.get_config("lbm")


SHARES = {"PeakInit": 0.2, "PeakMul": 0.3, "PeakLate": 0.1, "MonIncr": 0.05, "MonDec": 0.05,
          "Oth": 0.3}


def row(name, seed, num_good, shares=SHARES, max_in_degree=100.0):
    known = {"gamma": "log", "skip": -1, "sd": 0.1, **growing.MODELS[name]}
    shares = {**shares, "early_riser": shares["PeakInit"] + shares["MonDec"]}
    if num_good == 0:
        shares = dict.fromkeys(shares)
    return {**known, "seed": seed, "test_num_good": num_good, "test_max_in_degree": max_in_degree,
            "test_top_1_percent_share": 0.5, "test_papers": 1000.0,
            **{f"test_share_{key}": value for key, value in shares.items()}}


def test_shares_are_pooled_and_what_is_empty_is_left_out():
    other = {**dict.fromkeys(SHARES, 0.0), "PeakLate": 1.0}
    rows = [row("LBM-G", 0, 30), row("LBM-G", 1, 0), row("LBM-G", 2, 10, other)]
    pooled = results.pooled(rows)
    assert pooled["PeakInit"] == pytest.approx(15.0) and pooled["PeakLate"] == pytest.approx(32.5)
    # Of 40 papers 31 are not Oth: 7.5 early risers.
    assert results.classified(rows)["early_riser"] == pytest.approx(100 * 7.5 / 31)
    assert results.mean(rows, "num_good") == pytest.approx(40 / 3)
    assert results.mean(rows, "share_PeakInit") == pytest.approx(0.1)
    empty = results.pooled(rows[1:2])["Oth"]
    assert empty != empty
    lines = results.markdown(Table(rows, ("model",), {}))
    assert lines[2].startswith("| model lbm_g, gamma log, skip -1, sd 0.1 | 13 | 100 | 0.50 | "
                               "10.0 (14.1) | ")


def test_claims_are_missed_where_models_are_exchanged():
    early = {**dict.fromkeys(SHARES, 0.02), "PeakInit": 0.5, "Oth": 0.42}
    grown = {name: [row(name, 0, 500, early, 900.0)] for name in growing.MODELS}
    found = list(claims.shapes(grown, grown))
    # Where all models are alike and make early risers, only what is asked of LBM-G holds.
    assert [claim.holds for claim in found] == [False, True] + [False] * 4 + [False]
    assert [claim.holds for claim in claims.hubs(grown)] == [False] * 3


def test_one_network_is_classified_several_times():
    found = list(classifier.entries(num_seeds=2, num_papers=2000))
    assert [(entry.threshold, entry.window) for entry in found] == 2 * list(classifier.SETTINGS)
    for entry in found:
        np.testing.assert_allclose(entry.shares.sum(axis=1), 100)
    ba = {(entry.threshold, entry.window): entry for entry in found if entry.name == "BA"}
    # Which papers are Oth is no matter of peaks; more papers have several that are lower.
    assert len({entry.mean("Oth") for entry in ba.values()}) == 1
    assert ba[0.5, 5].mean("PeakMul") > ba[0.9, 5].mean("PeakMul")
    # A window moves peaks from PeakLate and MonIncr to PeakInit, and nothing else.
    narrow, wide = ba[0.75, 3], ba[0.75, 10]
    assert wide.mean("PeakInit") >= narrow.mean("PeakInit")
    assert [wide.mean(name) for name in ("PeakMul", "MonDec")] == [
        narrow.mean(name) for name in ("PeakMul", "MonDec")]
    holds = [claim.holds for claim in claims.thresholds_and_windows(
        [entry._replace(shares=entry.shares[:, ::-1]) for entry in found])]
    assert not any(holds[:4])
