"""Speed, memory and compile time of the networks, beside other formulations of the same function.

    python -m benchmarks.nets [--json] [--only=speed,compile] [--networks=nf_resnet50,nfnet_f0]
                              [--image_size=64] [--batch_size=8] [--rounds=5]

speed: forward passes and training steps (softmax cross-entropy and its gradient), as in the library
and in the formulations named below, alternating in one process.
compile: seconds to compile a training step, unrolled and with `scan_blocks=True`, each in a process
of its own without a compilation cache; nothing is run.
README.md has the last table and says how to read it.
"""

import argparse
import statistics
import sys
import time

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import timing
from nfnets_jax import nets

NETWORKS = ("nf_resnet50", "bn_resnet50", "nf_regnet_b0", "nfnet_f0")
DEEP = ("nf_resnet50", "nf_resnet288", "nfnet_f0", "nfnet_f3")
# Other formulations of a normalizer-free network: overrides of its arguments.
FORMULATIONS = {
    "gamma_in_weights": dict(gamma_in="weights"),
    "without_standardization": dict(weight_standardization=False),
}


def random_parameters(network: hk.TransformedWithState, size: int) -> tuple:
    """Parameters and state of a network at random, without running its slow initialisation."""
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(lambda k, x: network.init(k, x, True), jax.random.key(0), images)
    rng = np.random.default_rng(0)

    def fill(shape):
        fan_in = max(1, int(np.prod(shape.shape[:-1])))
        return jnp.asarray(rng.standard_normal(shape.shape) / fan_in**0.5, shape.dtype)

    return jax.tree.map(fill, shapes)


def training_step(network: hk.TransformedWithState):
    """Loss and gradient, and a step of plain SGD, as a function of (params, state, images)."""

    def loss(params, state, images):
        outputs, state = network.apply(params, state, jax.random.key(0), images, True)
        labels = jnp.zeros(images.shape[0], jnp.int32)
        return optax.softmax_cross_entropy_with_integer_labels(
            outputs["logits"], labels).mean(), state

    def step(params, state, images):
        grads, state = jax.grad(loss, has_aux=True)(params, state, images)
        return jax.tree.map(lambda w, g: w - 1e-6 * g, params, grads), state

    return step


class Measured:
    """A compiled forward pass and training step of one network, with their data."""

    def __init__(self, name: str, overrides: dict, batch_size: int, size: int):
        network = nets.create(name, 1000, dropout_rate=0.0, stochastic_depth_rate=0.0, **overrides)
        self.params, self.state = random_parameters(network, size)
        rng = np.random.default_rng(1)
        self.images = jnp.asarray(rng.standard_normal((batch_size, size, size, 3)), jnp.float32)

        def forward(params, state, images):
            return network.apply(params, state, None, images, False)[0]["logits"]

        arguments = self.params, self.state, self.images
        self.forward = jax.jit(forward).lower(*arguments).compile()
        start = time.perf_counter()
        lowered = jax.jit(training_step(network), donate_argnums=(0, 1)).lower(*arguments)
        self.step = lowered.compile()
        self.compile_seconds = time.perf_counter() - start
        memory = self.step.memory_analysis()
        self.memory = (memory.temp_size_in_bytes + memory.argument_size_in_bytes) / 2**20

    def rates(self, repeats: int) -> tuple[float, float]:
        """Images/s of forward passes and of training steps."""
        count = repeats * len(self.images)
        start = time.perf_counter()
        for _ in range(repeats):
            logits = self.forward(self.params, self.state, self.images)
        jax.block_until_ready(logits)
        middle = time.perf_counter()
        for _ in range(repeats):
            self.params, self.state = self.step(self.params, self.state, self.images)
        jax.block_until_ready(self.params)
        return count / (middle - start), count / (time.perf_counter() - middle)


def measure_speed(args: argparse.Namespace) -> dict[str, tuple[float, str]]:
    """Each network, then each other formulation between two measurements of the library's."""
    rows = {}
    for name in args.networks:
        ours = Measured(name, {}, args.batch_size, args.image_size)
        ours.rates(1)
        rates = [ours.rates(args.repeats) for _ in range(args.rounds)]
        rows[f"{name}_forward"] = statistics.median(r[0] for r in rates), "images/s"
        rows[f"{name}_step"] = statistics.median(r[1] for r in rates), "images/s"
        rows[f"{name}_memory"] = ours.memory, "MiB of the compiled step: arguments and temporaries"
        rows[f"{name}_compile"] = ours.compile_seconds, "s to trace and compile the training step"
        formulations = FORMULATIONS if name.startswith("nf") else {}
        for label, overrides in formulations.items():
            other = Measured(name, overrides, args.batch_size, args.image_size)
            other.rates(1)
            around, between = [ours.rates(args.repeats)[1]], []
            for _ in range(args.rounds):
                between.append(other.rates(args.repeats)[1])
                around.append(ours.rates(args.repeats)[1])
            ratios = timing.paired_ratios(between, around)
            rows[f"{name}_{label}"] = (
                statistics.mean(ratios), f"x the library's training rate; {timing.spread(ratios)}")
    return rows


def measure_compile(args: argparse.Namespace) -> dict[str, tuple[float, str]]:
    """Compile seconds of deep networks, unrolled and scanned, each in a new process."""
    rows = {}
    for name in args.networks if args.networks != NETWORKS else DEEP:
        for label, scan in (("unrolled", "0"), ("scanned", "1")):
            seconds = float(timing.run_python(
                "-m", "benchmarks.nets", f"--compile_one={name}", f"--scan={scan}",
                f"--image_size={args.image_size}", f"--batch_size={args.batch_size}",
                JAX_ENABLE_COMPILATION_CACHE="false"))
            rows[f"{name}_compile_{label}"] = seconds, "s to trace and compile the training step"
        rows[f"{name}_compile_ratio"] = (
            rows[f"{name}_compile_unrolled"][0] / rows[f"{name}_compile_scanned"][0],
            "x longer unrolled")
    return rows


def compile_one(name: str, scan: bool, batch_size: int, size: int) -> float:
    """Seconds to trace and compile a training step, with abstract arguments."""
    network = nets.create(name, 1000, scan_blocks=scan)
    images = jax.ShapeDtypeStruct((batch_size, size, size, 3), jnp.float32)
    params, state = jax.eval_shape(
        lambda k, x: network.init(k, x, True), jax.random.key(0), images)
    start = time.perf_counter()
    jax.jit(training_step(network)).lower(params, state, images).compile()
    return time.perf_counter() - start


def main() -> None:
    """Runs the benchmark; the arguments are above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"speed": measure_speed, "compile": measure_compile}
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--only", default="speed,compile", help="parts, separated by commas")
    parser.add_argument("--networks", type=lambda text: tuple(text.split(",")), default=NETWORKS)
    parser.add_argument("--image_size", type=int, default=64, help="pixels")
    parser.add_argument("--batch_size", type=int, default=8, help="images")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    parser.add_argument("--repeats", type=int, default=3, help="steps of one measurement")
    parser.add_argument("--compile_one", help=argparse.SUPPRESS)
    parser.add_argument("--scan", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.compile_one:
        print(compile_one(args.compile_one, bool(args.scan), args.batch_size, args.image_size))
        return
    unknown = set(args.only.split(",")) - set(parts)
    if unknown:
        parser.error(f"--only={args.only}: allowed are {', '.join(parts)}")
    for name in args.networks:
        try:
            nets.defaults(name)
        except ValueError as error:
            parser.error(f"--networks: {error}")
    rows = {}
    for part in args.only.split(","):
        rows |= parts[part](args)
        print(f"{part} measured", file=sys.stderr, flush=True)
    title = f"Networks: batch {args.batch_size}, {args.image_size} pixels, float32"
    timing.report(title, rows, args.json)


if __name__ == "__main__":
    main()
