"""What stochastic rounding adds to a training step of a classification with Adam.

Part of `python -m benchmarks.analysis`. Steps with float weights and with rounded ones alternate in
one process, so that a drift of the machine cancels; on a CPU the seconds are those of its cores.
Rounding costs the same for any batch, the rest of a step of a dense network is in proportion to it:
'dense_128' is the network of 'dense' with a quarter of its batch, and 'digits' that of
experiments/quantized/digits.py.
"""

import statistics
import time

import jax
import numpy as np
import optax

from benchmarks import timing
from nfnets_jax import nets, optim
from nfnets_jax.tasks import classification, quantization
from nfnets_jax.training import loop, mesh

# Name -> network, its arguments, pixels, channels, batch size, layers, steps of a measurement.
SETTINGS = {
    "conv": ("vgg9", {}, 32, 3, 16, "convolutions", 1),
    "dense": ("mlp", {"widths": (512, 512)}, 28, 1, 512, "matrices", 10),
    "dense_128": ("mlp", {"widths": (512, 512)}, 28, 1, 128, "matrices", 20),
    "digits": ("mlp", {"widths": (32, 32), "norm": "batch", "norm_classifier": True}, 8, 1, 16,
               "matrices", 500),
}
HEADLINE = ("conv", "dense")
HYPER = {"learning_rate": 0.01, "weight_decay": 0.0, "label_smoothing": 0.0, "beta1": 0.9,
         "beta2": 0.999, "xi": 1e-8}
ROUNDS = 9


class Measured:
    """A compiled training step of one setting, with its state and a batch."""

    def __init__(self, name: str, arguments: dict, size: int, channels: int, batch_size: int,
                 layers: str, repeats: int, method: str):
        fields = dict(method=method, layers=layers, exclude=None, grid="binary", scale=1.0,
                      log_changes=False)
        task = classification.create_task(
            nets.create(name, num_classes=10, **arguments),
            image_shape=(size, size, channels),
            preprocess=lambda images: images / 128.0 - 1.0,
            augment=lambda key, images, index: images,
            schedule=optax.constant_schedule(1.0),
            create_optimizer=optim.optimizer_of({"name": "adam", "bias_terms": True}),
            quantize=quantization.create(fields))
        programs = loop.map_task(task, mesh.make_mesh(devices=jax.devices()[:1]))
        rng = np.random.default_rng(0)
        self.batch = jax.device_put({
            "image": rng.integers(0, 256, (batch_size, size, size, channels), dtype=np.uint8),
            "label": rng.integers(0, 10, batch_size, dtype=np.int32),
            "index": np.arange(batch_size, dtype=np.uint32)})
        self.state = programs.init(
            np.uint32(0), {key: np.float32(value) for key, value in HYPER.items()})
        self.step, self.repeats = programs.step, repeats
        self.seconds()

    def seconds(self) -> float:
        """Of one step, the mean of some."""
        clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
        start = clock()
        for _ in range(self.repeats):
            self.state, _ = self.step(self.state, self.batch)
        jax.block_until_ready(self.state)
        return (clock() - start) / self.repeats


def measure() -> dict[str, tuple[float, str]]:
    """Rows of the table: the share that rounding adds, the larger of `HEADLINE` and each."""
    rows = {}
    for name, setting in SETTINGS.items():
        float_step, rounded_step = (Measured(*setting, method) for method in ("none", "stochastic"))
        around, between = [float_step.seconds()], []
        for _ in range(ROUNDS):
            between.append(rounded_step.seconds())
            around.append(float_step.seconds())
        ratios = timing.paired_ratios(between, around)
        rows[f"rounding_{name}"] = statistics.median(ratios) - 1, (
            f"of {1e3 * statistics.median(around):.3g} ms a step; ratios {timing.spread(ratios)}")
    largest = max(rows[f"rounding_{name}"][0] for name in HEADLINE)
    return {"stochastic_rounding_overhead": (largest, " or ".join(HEADLINE)), **rows}
