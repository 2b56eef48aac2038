"""What the study of BYOL claims, on 8x8 digits; the same hyper-parameters for every norm."""

import functools
from collections.abc import Iterator

from experiments.byol import digits
from experiments.claims import Claim, train

SEEDS = (0, 1)
# Excluded parameters (offsets, biases) move 20 times as fast, weights as before: the paper's
# trust coefficient, and no faster predictor.
PAPER_LIKE = {"optimizer.base_learning_rate": 4.0, "optimizer.trust_coefficient": 1e-3,
              "optimizer.predictor_multiplier": 1.0}
SHORT = {"num_epochs": 27.0, "schedule.warmup_epochs": 1.35}
LONG = {"num_epochs": 107.0, "schedule.warmup_epochs": 5.35}
UNTRAINED = {"num_epochs": 0.2, "schedule.warmup_epochs": 0.0, "optimizer.base_learning_rate": 0.0}


def measure(variant: str, seed: int, **changes) -> dict[str, float]:
    """The last evaluation of a run; 303 steps unless the changes say otherwise."""
    config = digits.get_config(variant)
    config.seed = seed
    config.evaluate_every = config.checkpoint_every = 0
    config.update_from_flattened_dict(SHORT | changes)
    return train(config)


def claims() -> Iterator[Claim]:
    """Spread of the projections (0 collapsed, 1 isotropic), cosines and probes, two seeds each."""
    cached = functools.cache(lambda variant, seed: measure(variant, seed))
    start = functools.cache(lambda variant, seed: measure(variant, seed, **UNTRAINED))
    long = functools.cache(lambda variant, seed: measure(variant, seed, **LONG))
    strict = functools.cache(lambda variant, seed: measure(variant, seed, **PAPER_LIKE))

    def row(what, found, name, least=None, most=None):
        values = [one[name] for one in found]
        holds = all((least is None or v >= least) and (most is None or v <= most) for v in values)
        bounds = " and ".join(([f"at least {least:g}"] if least is not None else [])
                              + ([f"at most {most:g}"] if most is not None else []))
        return Claim(f"{what}: {name.replace('_', ' ')}", bounds,
                     ", ".join(f"{v:.3g}" for v in values), holds)

    for variant, bound in (("batch", {"most": 0.5}), ("group_ws", {"most": 0.5}),
                           ("calibrated", {"most": 0.5}), ("none", {"least": 0.93}),
                           ("group", {"least": 0.93}), ("layer", {"least": 0.93})):
        found = [start(variant, seed) for seed in SEEDS]
        yield row(f"{variant}, untrained", found, "negative_cosine", **bound)
    for variant, bound in (("batch", {"least": 0.6}), ("group_ws", {"least": 0.3}),
                           ("calibrated", {"least": 0.15}), ("none", {"most": 0.02}),
                           ("simclr:none", {"least": 0.9})):
        found = [cached(variant, seed) for seed in SEEDS]
        yield row(f"{variant}, 303 steps", found, "projection_std", **bound)
    means = {variant: sum(cached(variant, seed)["projection_std"] for seed in SEEDS) / len(SEEDS)
             for variant in ("batch", "group_ws", "calibrated", "none")}
    yield Claim("303 steps: order of the mean projection std",
                "batch > group_ws > calibrated > none",
                ", ".join(f"{value:.3g}" for value in means.values()),
                list(means.values()) == sorted(means.values(), reverse=True))
    for variant in ("batch", "group_ws"):
        gains = [long(variant, seed)["ridge_accuracy"] - start(variant, seed)["ridge_accuracy"]
                 for seed in SEEDS]
        yield Claim(f"{variant}, 1201 steps: linear (ridge) probe over that of the untrained "
                    "encoder", "at least 0.08", ", ".join(f"{g:.3f}" for g in gains),
                    min(gains) >= 0.08)
        yield row(f"{variant}, 1201 steps", [long(variant, seed) for seed in SEEDS],
                  "projection_std", least=0.7)
    for probe in ("knn_accuracy", "ridge_accuracy"):
        gaps = [sum(long(variant, seed)[probe] for seed in SEEDS) / len(SEEDS)
                for variant in ("batch", "group_ws")]
        yield Claim(f"1201 steps: mean {probe.replace('_', ' ')} of batch and group_ws",
                    "within 0.05", ", ".join(f"{g:.3f}" for g in gaps),
                    abs(gaps[0] - gaps[1]) <= 0.05)
    yield row("calibrated, 1201 steps", [long("calibrated", seed) for seed in SEEDS],
              "projection_std", least=0.5)
    yield row("batch, no predictor, no moving average", [
        measure("batch", seed, **{"objective.use_predictor": False, "target.decay": 0.0,
                                  "target.schedule": "constant"}) for seed in SEEDS],
              "projection_std", most=0.02)
    yield row("batch, fixed random target", [
        measure("batch", seed, **{"target.decay": 1.0, "target.schedule": "constant"})
        for seed in SEEDS], "projection_std", least=0.6)
    yield row("group_ws, trust coefficient 1e-3", [strict("group_ws", seed) for seed in SEEDS],
              "projection_std", most=0.01)
    partly = [strict("none,batch,batch", seed) for seed in SEEDS]
    yield row("none,batch,batch, trust coefficient 1e-3", partly, "projection_std", least=0.6)
    ratios = [one["feature_std"] / strict("batch", seed)["feature_std"]
              for one, seed in zip(partly, SEEDS, strict=True)]
    yield Claim("the same: feature std over that of batch", "at most 0.5",
                ", ".join(f"{ratio:.2f}" for ratio in ratios), max(ratios) <= 0.5)
