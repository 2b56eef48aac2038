"""The report of citation networks: of a run that replays a file, and of a sweep."""

import csv
import json

import jax
import numpy as np
import pytest

from nfnets_jax import tasks
from nfnets_jax.citations import metrics, trajectories
from nfnets_jax.citations.trajectories import Category
from nfnets_jax.reports import citation_networks
from nfnets_jax.tasks import citation_arrivals
from nfnets_jax.training import loop, mesh, preemption, workdir
from tests.tasks.norm_runs import config_of

TASK = "citation_growth"


def write_references(path):
    """Forty years of four papers, that prefer to cite early ones; one reference is dangling."""
    random, lines = np.random.default_rng(0), ["paper,year,cited"]
    for paper in range(160):
        cited = np.unique((paper * random.random(5) ** 3).astype(int)) if paper else []
        start = f"p{paper},{1960 + paper // 4},"
        lines += [f"{start}p{target}" for target in cited] or [start]
    path.write_text("\n".join([*lines, "q,1990,nobody"]) + "\n")


def test_a_run_beside_the_network_that_it_replays(tmp_path):
    write_references(tmp_path / "references.csv")
    config = config_of(TASK, papers_per_step=500, arrivals={
        "kind": "replay", "path": str(tmp_path / "references.csv"), "last_seed_year": 1965})
    grid = mesh.make_mesh(devices=jax.devices()[:1])
    workdir.open_workdir(tmp_path / "run", config)
    with preemption.StopRequest() as stop:
        result = loop.train(tasks.create(config), config, tmp_path / "run", grid, stop)
    networks = citation_networks.collect(tmp_path / "run")
    assert list(networks) == ["real", "ba"] and networks["ba"].real == "real"
    ba, real = networks["ba"].shares(), networks["real"].shares()
    assert ba.num_good == result.metrics["num_good"]
    assert ba.all_six[Category.Oth] == pytest.approx(result.metrics["share_Oth"])

    histories = citation_arrivals.create(config["arrivals"]).real
    categories = np.asarray(trajectories.classify(histories.counts))
    assert real.num_good == np.sum(categories >= 0) > 20
    found = citation_networks.distances(networks, "ba")
    assert found["L1"] == pytest.approx(np.abs(ba.all_six - real.all_six).sum()) and found["L1"] > 0
    assert found["KS"] == metrics.degree_distance(
        networks["ba"].in_degrees, histories.counts.sum(axis=1))
    row = citation_networks.rows(networks)[1]
    assert row["network"] == "ba" and float(row["L1"]) == pytest.approx(found["L1"], abs=1e-3)
    assert any("set aside: 1 x reference to a paper that has no line" in remark
               for remark in citation_networks.remarks(networks))
    citation_networks.draw(networks, tmp_path / "report")
    with (tmp_path / "report" / "degrees.csv").open() as file:
        degrees = list(csv.DictReader(file))
    first = next(row for row in degrees if row["network"] == "ba")
    assert float(first["citations"]) == 0 and float(first["expected"]) == pytest.approx(1)
    for name in ("categories", "degrees"):
        assert (tmp_path / "report" / f"{name}.png").stat().st_size > 5000


def test_runs_of_a_sweep_are_pooled_and_the_first_seed_grows_again(tmp_path):
    base = config_of(TASK, papers_per_step=500,
                     arrivals={"num_papers": 300, "mean_references": 4.0})
    endings = ("", "_without_seeds")
    rows = []
    for seed, good, share in ((0, 30, 0.2), (1, 10, 1.0), (2, 0, None)):
        shares = {category.name: 0.0 if share is not None else None
                  for category in Category if category >= 0}
        if share is not None:
            shares |= {"PeakMul": share, "Oth": 1 - share}
        rows.append({"cell": f"{seed}", "model": "lbm", "gamma": "sqrt", "sd": 0.1, "seed": seed,
                     "status": "done", **{f"test_num_good{e}": good for e in endings},
                     **{f"test_share_{name}{e}": value for name, value in shares.items()
                        for e in endings}})
    rows.append({**rows[0], "cell": "3", "status": "diverged"})
    (tmp_path / "sweep.json").write_text(json.dumps(
        {"varied": ["model", "gamma", "sd", "seed"], "base": base, "cells": rows}))
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    networks = citation_networks.collect(tmp_path)
    # sd is no field of this model.
    assert list(networks) == ["lbm, gamma sqrt"]
    network = networks["lbm, gamma sqrt"]
    np.testing.assert_array_equal(network.counts[:, Category.PeakMul], [6, 10, 0])
    assert network.shares().all_six[Category.PeakMul] == pytest.approx(16 / 40)
    assert network.deviations()[Category.Oth] == pytest.approx(np.std([0.8, 0.0], ddof=1))
    assert network.law is None
    config = config_of(TASK, papers_per_step=50, model="lbm", gamma="sqrt", arrivals={
        "num_papers": 300, "mean_references": 4.0})
    again, = citation_networks.grow_again(config, [0])
    np.testing.assert_array_equal(network.in_degrees, again.network.degrees)
    assert again.network.degrees.sum() == citation_arrivals.create(
        config["arrivals"]).arrivals.num_references.sum()


def test_other_tasks_have_no_citation_networks(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps(
        {"varied": [], "base": {"task": "norm_change"}, "cells": []}))
    with pytest.raises(ValueError, match="task='norm_change': only citation_growth has"):
        citation_networks.collect(tmp_path)
    (tmp_path / "sweep.json").write_text(json.dumps(
        {"varied": [], "base": {"task": TASK}, "cells": []}))
    with pytest.raises(ValueError, match="no run of the sweep is done yet"):
        citation_networks.collect(tmp_path)
