"""A step of BYOL beside PyTorch: both views, both networks, LARS, moving average.

    python -m benchmarks.byol              # a table
    python -m benchmarks.byol --json       # and one line of JSON

    vs_pytorch          time of a step in PyTorch over ours (above 1: ours is faster); the median
                        of rounds that alternate. Needs `pip install -e .[peers]`.
    augmentation_share  share of our step that making both views takes
    images_per_second   ours; of images, each of which makes two views

ResNet-18 with batch norm, 64 x 64 pixels, batch 64, projections of 128 through 512 hidden units,
float32, all cores. Both sides make random resized crops of 64 x 64 images on the device.
--steps=N sets the steps of a round, --rounds=N their number.
"""

import time

import jax
import numpy as np
from absl import app, flags

from benchmarks.timing import median, paired_ratios, report, spread
from nfnets_jax import config as config_lib
from nfnets_jax import data, nets
from nfnets_jax.tasks import byol
from nfnets_jax.training import loop, mesh

_JSON = flags.DEFINE_bool("json", False, "Also print the numbers as one line of JSON.")
_STEPS = flags.DEFINE_integer("steps", 3, "Steps of a round.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds.")
BATCH, SIZE, HIDDEN, OUTPUTS = 64, 64, 512, 128


def our_programs(images: np.ndarray):
    """Our step, and the making of both views alone: functions of nothing that wait for the end."""
    config = config_lib.default_config("byol")
    config.network.name = "bn_v1_resnet18"
    config.projector.hidden_size = config.predictor.hidden_size = HIDDEN
    config.projector.output_size = OUTPUTS
    config.dataset.image_size = SIZE
    config.batch_size = BATCH
    config = config_lib.check_config(config, 1)
    specs = (data.VIEW_1, data.VIEW_2)

    def make_views(key, batch):
        keys = jax.random.split(key)
        return tuple((data.make_view(k, batch["image"], batch["index"], spec, image_size=SIZE)
                      - 0.45) / 0.225 for k, spec in zip(keys, specs, strict=True))

    functions = byol.create_functions(
        byol.create_networks(config, 10),
        start_images=lambda key: jax.numpy.zeros((2, SIZE, SIZE, 3)),
        make_views=make_views,
        preprocess=lambda x: x,
        schedule=lambda step: 1.0,
        total_steps=10**6,
    )
    programs = loop.map_task(functions.task, mesh.make_mesh(devices=jax.devices()[:1]))
    hyper = dict(learning_rate=0.2, momentum=0.9, weight_decay=1e-6, trust_coefficient=1e-3,
                 excluded_multiplier=1.0, predictor_multiplier=1.0, target_decay=0.99,
                 temperature=0.1)
    batch = {"image": images, "label": np.zeros(BATCH, np.int32),
             "index": np.arange(BATCH, dtype=np.uint32)}
    state = programs.init(np.uint32(0), {k: np.float32(v) for k, v in hyper.items()})

    def step():
        nonlocal state
        state, metrics = programs.step(state, batch)
        jax.block_until_ready(metrics)

    views = jax.jit(make_views)
    key = jax.random.key(0)
    return step, lambda: jax.block_until_ready(views(key, batch))


def their_step(images: np.ndarray):
    """The step in PyTorch, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    from benchmarks import torch_byol

    trained = torch_byol.Byol(HIDDEN, OUTPUTS)
    tensor = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    return lambda: trained.step(tensor)


def seconds(function, steps: int) -> float:
    """Seconds of one call, averaged over some."""
    start = time.perf_counter()
    for _ in range(steps):
        function()
    return (time.perf_counter() - start) / steps


def main(argv: list[str]) -> None:
    """Runs the benchmark; the flags are above."""
    del argv
    images = np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3), dtype=np.uint8)
    ours, views = our_programs(images)
    theirs = their_step(images)
    others = [views] + [theirs] * (theirs is not None)
    for function in (ours, *others):
        function()  # compiles, warms up
    steps, rounds = _STEPS.value, _ROUNDS.value
    own, measured = [seconds(ours, steps)], {function: [] for function in others}
    around = {function: [own[0]] for function in others}
    for _ in range(rounds):
        for function in others:
            measured[function].append(seconds(function, steps))
            own.append(seconds(ours, steps))
            around[function].append(own[-1])
    rows = {}
    if theirs is None:
        print("PyTorch is not installed: pip install -e .[peers]")
    else:
        ratios = paired_ratios(measured[theirs], around[theirs])
        rows["vs_pytorch"] = (median(ratios), spread(ratios))
        rows["pytorch_step_ms"] = (1e3 * median(measured[theirs]), "")
    ratios = paired_ratios(measured[views], around[views])
    rows["augmentation_share"] = (median(ratios), spread(ratios))
    rows["step_ms"] = (1e3 * median(own), f"batch {BATCH}, {SIZE} pixels, ResNet-18")
    rows["images_per_second"] = (BATCH / median(own), "")
    kept = [_kept_for_backward(remat) for remat in (False, True)]
    rows["kept_mib"] = (kept[0], "what the backward pass of a ResNet-50 with group norm and weight "
                        "standardization is given, 8 images of 64 pixels")
    rows["kept_mib_remat"] = (kept[1], "the same with network.remat_blocks")
    report("BYOL", rows, _JSON.value)


def _kept_for_backward(remat: bool) -> float:
    network = nets.create("bn_v1_resnet50", None, norm="group", weight_standardization=True,
                          remat_blocks=remat)
    images = jax.ShapeDtypeStruct((8, 64, 64, 3), np.float32)
    key = jax.random.key(0)
    params, state = jax.eval_shape(lambda x: network.init(key, x, True), images)

    def backward(params, state, images):
        return jax.vjp(lambda p: network.apply(p, state, key, images, True)[0]["features"],
                       params)[1]

    kept = jax.eval_shape(backward, params, state, images)
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept)) / 2**20


if __name__ == "__main__":
    app.run(main)
