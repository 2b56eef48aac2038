"""The studies of norm change and of tipping points: sweeps, claims, and lattices made again."""

import json

import numpy as np
import pytest

from experiments.norm_change import claims, exploration, graphs, shock, updates
from experiments.tipping_points import claims as tipping_claims
from experiments.tipping_points import grid
from nfnets_jax.reports import norm_sweep
from nfnets_jax.sweeps.plan import get_field, make_plan
from nfnets_jax.sweeps.table import Table
from nfnets_jax.tasks import norm_populations
from tests.tasks.norm_runs import config_of, ends


@pytest.mark.parametrize("module, variant, runs, programs", [
    (shock, ("laptop",), 6, 1), (shock, ("paper",), 6, 1), (updates, (), 18, 3),
    (exploration, ("zero",), 5, 1), (exploration, ("frozen",), 5, 1),
    (grid, ("synchronous",), 7, 1), (grid, ("random_sequential",), 7, 1)])
def test_sweeps_are_few_programs(module, variant, runs, programs):
    plan = make_plan(module.get_config(*variant), module.get_sweep())
    assert (len(plan.cells), len(plan.programs)) == (runs, programs)
    if variant:
        with pytest.raises(ValueError, match="'large': use "):
            module.get_config("large")


def test_other_graphs_have_as_many_agents():
    plan = make_plan(graphs.get_config(), graphs.get_sweep())
    assert len(plan.programs) == 4
    for cell in plan.cells:
        graph = cell.config["graph"]
        assert (graph["num_nodes"] or graph["height"] * graph["width"]) == 2500


def make_table(module, measure, *variant):
    plan = make_plan(module.get_config(*variant), module.get_sweep())
    return Table([{**{field: get_field(cell.config, field) for field in plan.varied},
                   "status": "done", **measure(cell.config)} for cell in plan.cells],
                 plan.varied, plan.base)


def test_claims_of_the_shock_need_three_different_processes():
    def measure(config, zero="zero"):
        name = zero if config["teacher_payoff"] == "zero" else "frozen"
        is_synchronous = config["update"] == "synchronous"
        c = config["need_for_coordination"]
        before = claims.DISSENT["synchronous" if is_synchronous else name]
        return {"test_t50": claims.T50[name][0][shock.NEEDS.index(c)], "test_t50_error": 0.1,
                "test_fraction_switched": 1.0, "test_worse_before_shock": before,
                "test_worse_before_shock_error": 4e-4}

    assert all(claim.holds for claim in claims.transits(make_table(updates, measure)))
    same = make_table(updates, lambda config: measure(config, "frozen"))
    assert [claim.holds for claim in claims.transits(same)].count(False) == 4


def test_claims_of_the_grid_need_times_that_grow_with_conformity():
    def measure(config, power=1.0):
        time = {**tipping_claims.SEQUENTIAL, 0.9: 400.0}[config["conformity"]] ** power
        return {"test_t50": time, "test_t10": time / 2, "test_t90": 1.5 * time,
                "test_fraction_switched": float(config["conformity"] < 0.9)}

    found = make_table(grid, measure, "random_sequential")
    assert all(claim.holds for claim in tipping_claims.sequential(found))
    found = make_table(grid, lambda config: measure(config, 0.8), "random_sequential")
    assert not all(claim.holds for claim in tipping_claims.sequential(found))


def test_replica_0_is_made_again_alone():
    changes = {"graph": {"height": 6, "width": 7}, "num_replicas": 3, "shock_generation": 5,
               "num_generations": 12, "seed": 3, "need_for_coordination": 0.5}
    state, _ = ends("norm_change", "need_for_coordination", (0.5,), **changes)
    pictures = norm_sweep.replay(
        config_of("norm_change", **changes), norm_populations.snapshot_times(5, 12))
    np.testing.assert_array_equal(pictures.reshape(len(pictures), -1),
                                  state.history.snapshots[0])


def test_a_run_is_reported_as_a_sweep_of_one(tmp_path):
    config = config_of("norm_change", graph={"height": 5, "width": 5}, num_generations=20,
                       shock_generation=8, num_replicas=2)
    (tmp_path / "config.json").write_text(json.dumps(config))
    rows = [{"step": step, "kind": "train", "share_of_better": step / 20} for step in (4, 12, 20)]
    rows.append({"step": 20, "kind": "problem", "t50": 3.0, "fraction_switched": 1.0})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = norm_sweep.load("norm_change", tmp_path)
    assert (table.rows[0]["need_for_coordination"], table.rows[0]["test_t50"]) == (0.5, 3.0)
    drawn = norm_sweep.draw("norm_change", tmp_path, tmp_path / "norms")
    assert [file.name for file in drawn] == ["trajectories.png", "lattice.png", "lattice.gif"]
    assert all(file.stat().st_size > 1000 for file in drawn)
    with pytest.raises(ValueError, match="task='norm_change': must be tipping_points"):
        norm_sweep.load("tipping_points", tmp_path)
