"""Gram matrices of per-example gradients beside loops, vmap and PyTorch's peers.

    python -m benchmarks.analysis_gram [--json]

A WRN-16-4 without norms (2.7 million parameters) on 32 x 32 images, float32, all cores.

    gram_floor_ratio  time of 1,024 examples over that of the multiply-adds alone: forward pass,
                      gradients of all outputs and kernels, half of all products of two gradients,
                      at the rate of a matrix product of 2048 x 2048. The remark also says what the
                      floor is with a second forward pass, as what the products are made of takes
                      more than 2 GiB
    gram_peak_gib     the largest memory of a program that makes this matrix, and nothing else
    gram_seconds      of 1,024 examples
    gram_vs_loop      time of a loop over examples, compiled, and one product, over ours
    gram_vs_vmap      likewise of vmap(grad)
    gram_vs_torch     likewise of vmap(grad) of torch.func. Needs `pip install -e .[peers]`
    gram_vs_torchjd   likewise of TorchJD's engine

The four ratios are those of --examples=N, 256 by default, which is in favour of the others: ours
alone saves half of the products, whose number grows as N^2. Loop and vmap are timed on some of the
examples, as the time for each is constant.
"""

import argparse
import json
import math
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from nfnets_jax import nets
from nfnets_jax.analysis.gram import gram
from nfnets_jax.analysis.haiku_layers import find_layers

DEPTH, WIDTH, SIZE, EXAMPLES = 16, 4, 32, 1024


def problem(count: int):
    """The losses, the parameters, and a batch of this many random images."""
    network = nets.create(f"plain_wrn_{DEPTH}_{WIDTH}", 10)
    rng = np.random.default_rng(0)
    batch = dict(image=rng.normal(size=(count, SIZE, SIZE, 3)).astype(np.float32),
                 label=rng.integers(0, 10, count).astype(np.int32))
    params, state = jax.jit(network.init, static_argnums=2)(
        jax.random.key(0), batch["image"][:1], True)

    def losses(params, batch):
        outputs, _ = network.apply(params, state, None, batch["image"], False)
        chosen = jnp.take_along_axis(
            jax.nn.log_softmax(outputs["logits"]), batch["label"][:, None], 1)
        return -chosen[:, 0]

    return losses, params, batch


def seconds(function) -> float:
    """Of one call, whose result is awaited."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def matmul_rate(rounds: int = 10) -> float:
    """Multiply-adds a second of a product of matrices 2048 x 2048 in float32, the fastest."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2048, 2048)), jnp.float32)
    multiply = jax.jit(lambda x: jnp.matmul(x, x, precision="highest"))
    multiply(x)
    return 2048**3 / min(seconds(lambda: multiply(x)) for _ in range(rounds))


def count_multiply_adds(losses, params, batch) -> float:
    """Of the cheapest way to make the Gram matrix that we know: for each layer the smaller one of
    all gradients and half of their products, and half of the products of all positions."""
    count, total = len(batch["label"]), 0.0
    for i, layer in enumerate(find_layers(losses, params, batch)):
        size, channels = math.prod(layer.kernel_shape[:3]), layer.kernel_shape[3]
        positions = math.prod(layer.outputs_shape[:2])
        total += count * positions * size * channels * (1 if i == 0 else 2)
        total += min(count * positions * size * channels + count**2 / 2 * size * channels,
                     count**2 / 2 * positions**2 * (size + channels))
    return total


def count_forward(losses, params, batch) -> float:
    """Multiply-adds of a forward pass of all examples."""
    return len(batch["label"]) * sum(
        math.prod(layer.kernel_shape) * math.prod(layer.outputs_shape[:2])
        for layer in find_layers(losses, params, batch))


def measure_alone() -> dict[str, float]:
    """Time, floor and memory of the large matrix, in a program of its own."""
    losses, params, batch = problem(EXAMPLES)
    jax.block_until_ready(gram(losses, params, batch))
    rates = [matmul_rate()]
    taken = seconds(lambda: gram(losses, params, batch))
    rates.append(matmul_rate())
    floor = count_multiply_adds(losses, params, batch) / max(rates)
    second_pass = count_forward(losses, params, batch) / max(rates)
    return dict(seconds=taken, floor=floor, second_pass=second_pass,
                peak=timing.peak_memory() / 2**10)


def time_gradients(losses, params, batch, by_loop: bool, count: int) -> float:
    """Seconds for the gradient of one example, of a loop over `count` or of vmap."""

    def one(params, example):
        return jax.grad(lambda p: losses(p, jax.tree.map(lambda x: x[None], example))[0])(params)

    some = jax.tree.map(lambda x: jnp.asarray(x[:count]), batch)
    if by_loop:
        compiled = jax.jit(one)
        examples = [jax.tree.map(lambda x, i=i: x[i], some) for i in range(count)]
        compiled(params, examples[0])
        return seconds(lambda: [compiled(params, example) for example in examples]) / count
    compiled = jax.jit(jax.vmap(one, (None, 0)))
    jax.block_until_ready(compiled(params, some))
    return seconds(lambda: compiled(params, some)) / count


def measure(examples: int = 256) -> dict[str, tuple[float, str]]:
    """The rows of the table: name -> value and remark."""
    alone = json.loads(timing.run_python("-m", "benchmarks.analysis_gram", "--alone"))
    losses, params, batch = problem(examples)

    def ours():
        return gram(losses, params, batch)

    result = np.asarray(ours())
    own = [seconds(ours)]
    remark = f"{examples} examples"
    rows = {
        "gram_floor_ratio": (
            alone["seconds"] / alone["floor"],
            f"{alone['floor']:.1f} s are the floor of {EXAMPLES} examples, "
            f"{alone['floor'] + alone['second_pass']:.1f} s with a second forward pass"),
        "gram_peak_gib": (alone["peak"], f"{EXAMPLES} examples"),
        "gram_seconds": (alone["seconds"], f"{EXAMPLES} examples"),
    }
    product = sum(x.size for x in jax.tree.leaves(params)) * examples**2 / matmul_rate()
    for name, by_loop, count in (("gram_vs_loop", True, 32), ("gram_vs_vmap", False, 8)):
        theirs = examples * time_gradients(losses, params, batch, by_loop, count) + product
        own.append(seconds(ours))
        rows[name] = (2 * theirs / sum(own[-2:]), f"{remark}, timed on {count}")
    peers = peer_functions(params, batch)
    if not peers:
        print("PyTorch or TorchJD is not installed: pip install -e .[peers]")
    for name, theirs in peers.items():
        difference = np.max(np.abs(np.asarray(theirs()) - result)) / np.max(np.abs(result))
        taken = seconds(theirs)
        own.append(seconds(ours))
        rows[name] = (2 * taken / sum(own[-2:]), f"{remark}; largest difference {difference:.1e}")
    return rows


def peer_functions(params, batch) -> dict:
    """Functions that make the same matrix in PyTorch; none where it is not installed."""
    try:
        import torch
        from torchjd.autogram import Engine
    except ImportError:
        return {}
    from benchmarks import torch_gram

    network = torch_gram.with_weights_of(params, DEPTH, WIDTH)
    images = torch.tensor(batch["image"].transpose(0, 3, 1, 2)).contiguous(
        memory_format=torch.channels_last)
    labels = torch.tensor(batch["label"]).long()
    twin = torch_gram.with_weights_of(params, DEPTH, WIDTH)
    engine = Engine(twin, batch_dim=0)
    return {
        "gram_vs_torch": lambda: torch_gram.gram_by_func(network, images, labels, 32),
        "gram_vs_torchjd": lambda: torch_gram.gram_by_torchjd(engine, twin, images, labels),
    }


def main() -> None:
    """Runs the benchmark; the arguments are above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--examples", type=int, default=256, help="of the ratios")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        print(json.dumps(measure_alone()))
    else:
        timing.report("Gram matrices of per-example gradients", measure(args.examples), args.json)


if __name__ == "__main__":
    main()
