"""The report of gradient confusion on sweeps that are made up."""

import json

import numpy as np
import pytest

from nfnets_jax.reports import confusion_of_sweep
from nfnets_jax.sweeps import table as table_lib

BASE = {"network": {"name": "mlp"}, "optimizer": {"learning_rate": 0.1}, "seed": 0}
RATES = (0.1, 0.3, 1.0)


def write_sweep(folder, networks, is_measured=True):
    """Two seeds; 0.3 is the best rate, but at 1.0 one of the two has a lower loss and one fails."""
    cells, curves = [], {}
    for i, network in enumerate(networks):
        for rate in RATES:
            for seed in range(2):
                key = f"{len(cells):016x}"
                loss = {0.1: 0.5, 0.3: 0.2, 1.0: 0.1}[rate] + 0.01 * seed
                fields = {f"network.{name}": value for name, value in network.items()}
                cosines = [-0.1 * i - 0.2 * seed, 0.3]
                measured = {"min_cosine": min(cosines), "cosines": cosines} if is_measured else {}
                curves[key] = [{"step": 0, "train_loss": 1.0},
                               {"step": 5, "running_loss": 2 * loss},
                               {"step": 9, "running_loss": loss, **measured}]
                cells.append({"cell": key, **fields, "optimizer.learning_rate": rate, "seed": seed,
                              "status": "diverged" if rate == 1.0 and seed else "done",
                              "train_loss": loss, "curve": "curves/one.jsonl"})
    folder.mkdir()
    varied = [*(f"network.{name}" for name in networks[0]), "optimizer.learning_rate", "seed"]
    (folder / "sweep.json").write_text(json.dumps({"varied": varied, "base": BASE, "cells": cells}))
    (folder / "table.jsonl").write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    (folder / "curves").mkdir()
    table_lib.write_curves(folder, "one", curves)


def test_networks_are_those_of_the_best_learning_rate(tmp_path):
    write_sweep(tmp_path / "widths", [
        {"widths": [w] * 3, "classifier_init_std": 1 / w} for w in (8, 16)])
    networks = confusion_of_sweep.collect(tmp_path / "widths")
    assert [network.features for network in networks] == [{"width": 8}, {"width": 16}]
    assert [network.learning_rate for network in networks] == [0.3, 0.3]
    np.testing.assert_allclose(networks[1].minimum, [-0.1, -0.3])
    np.testing.assert_allclose(networks[1].cosines, [[-0.1, 0.3], [-0.3, 0.3]])
    assert confusion_of_sweep.rows(networks)[0] == {
        "width": "8", "learning rate": "0.3", "seeds": "2", "loss": "0.205 ± 0.0071",
        "smallest cosine": "-0.1 ± 0.14", "std of cosines": "0.2 ± 0.071"}
    drawn = confusion_of_sweep.draw(networks, tmp_path)
    assert [path.name for path in drawn] == ["loss.png", "cosines.png", "minimum.png"]
    assert all(path.stat().st_size > 5000 for path in drawn)


def test_what_was_not_measured_is_not_drawn(tmp_path):
    write_sweep(tmp_path / "sweep", [{"widths": [8]}], is_measured=False)
    with pytest.raises(ValueError, match="was not measured; set analysis.measures="):
        confusion_of_sweep.collect(tmp_path / "sweep")


@pytest.mark.parametrize("fields, features", [
    ({"network.name": "plain_wrn_22_4", "network.use_skip": False},
     {"network": "plain_wrn", "depth": 22, "width": 4, "use_skip": False}),
    ({"network.name": "bn_mlp", "network.num_blocks": 10, "network.width": 16, "batch_size": 8},
     {"network": "bn_mlp", "depth": 10, "width": 16, "batch_size": 8}),
    ({"num_dimensions": 80}, {"network": "mlp", "num_dimensions": 80})])
def test_features_of_networks(fields, features):
    assert confusion_of_sweep.describe(BASE, fields) == features
