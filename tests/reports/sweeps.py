"""Made-up sweeps with the shape of a study of batch sizes, for the tests of the report."""

import itertools
import math
from pathlib import Path

import numpy as np

from nfnets_jax.sweeps import table as table_lib

BASE = {
    "task": "classification", "batch_size": 64, "num_epochs": 20.0, "num_steps": None, "seed": 0,
    "network": {"name": "mlp_digits"},
    "dataset": {"name": "digits"},
    "optimizer": {"learning_rate": 0.1, "momentum": 0.0, "weight_decay": 5e-4},
    "schedule": {"name": "halving", "first_drop": "at_half", "warmup_epochs": 0.0},
}
RATES = tuple(2.0**i for i in range(-6, 5))


def batch_sizes(batches=(8, 16, 32, 64, 128, 256, 512, 1024), rates=RATES, seeds=range(10),
                momenta=(0.0,), noise=0.003):
    """Best at the effective learning rate B / 64 up to 8; diverges from 32, dead at 16."""
    rng = np.random.default_rng(0)
    rows = []
    for i, (m, b, rate, seed) in enumerate(itertools.product(momenta, batches, rates, seeds)):
        effective = rate / (1 - m)
        away = math.log2(effective / min(b / 64, 8.0))
        row = {"cell": f"{i:016x}", "program": f"{b:04x}", "batch_size": b,
               "optimizer.learning_rate": rate, "optimizer.momentum": m, "seed": seed,
               "status": "done", "steps": 20480 // b, "examples": 20480, "diverged_at": None,
               "error": None, "curve": f"curves/{b:04x}.jsonl",
               "train_loss": 0.7 * 2.0 ** (-0.4 * away) * max(1.0, b / 512)
               + 0.003 * rng.normal(),
               "test_accuracy": 0.955 - 0.006 * away**2 - 0.015 * max(0, math.log2(b / 512))
               + noise * rng.normal()}
        row |= dict(train_accuracy=row["test_accuracy"] + 0.02, test_loss=row["train_loss"] + 0.1)
        if effective >= 32:
            row |= dict(status="diverged", diverged_at=7, train_loss=None, test_accuracy=None,
                        train_accuracy=None, test_loss=None)
        elif effective >= 16 and b <= 128:
            row |= dict(status="dead", train_loss=2.3, test_accuracy=0.1, train_accuracy=0.1,
                        test_loss=2.31)
        rows.append(row)
    varied = ["batch_size", "optimizer.learning_rate", "optimizer.momentum", "seed"]
    if len(momenta) == 1:
        varied.remove("optimizer.momentum")
        for row in rows:
            del row["optimizer.momentum"]
    return table_lib.Table(rows, tuple(varied), BASE)


def write_curves(workdir, table):
    """Gives every run its evaluations: a loss that falls from 2.3, or grows."""
    (workdir / "curves").mkdir(parents=True)
    by_file = {}
    for row in table.rows:
        end, steps = row["train_loss"] or 40.0, row["steps"]
        evaluations = []
        for step in range(0, steps + 1, max(1, steps // 20)):
            loss = end + (2.3 - end) * math.exp(-5 * step / steps)
            evaluations.append({"step": step, "train_loss": loss, "test_loss": loss + 0.1,
                                "test_accuracy": 0.5})
        by_file.setdefault(Path(row["curve"]).stem, {})[row["cell"]] = evaluations
    for key, curves in by_file.items():
        table_lib.write_curves(workdir, key, curves)
