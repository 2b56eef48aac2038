"""Grouped and very small convolutions on this machine: as the library writes them, and as XLA does.

    python -m benchmarks.grouped_conv [--json]

Forward and both gradients of a 3x3, milliseconds, and the ratio of the two, alternating; `loop` is
the gradient of a kernel inside a loop of 20 rounds. README.md has the last table.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from nfnets_jax.nets import conv as conv_lib

# batch, pixels, channels, groups: of NFNet-F0 (groups of 128) and NF-RegNet-B0 (of 8), smaller, and
# of the last stage of a ResNet-18 at 64 pixels.
SHAPES = ((8, 16, 256, 2), (8, 8, 768, 6), (8, 32, 96, 12), (4, 14, 336, 42), (64, 2, 512, 1))


def _xla(x, w, groups):
    return jax.lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups)


def _compare(milliseconds, ours, xla) -> tuple[float, str]:
    """The row of two functions that are timed alternately."""
    milliseconds(ours), milliseconds(xla)
    around, between = [milliseconds(ours)], []
    for _ in range(5):
        between.append(milliseconds(xla))
        around.append(milliseconds(ours))
    return timing.median(timing.paired_ratios(between, around)), (
        f"x XLA's time over ours; {timing.median(between):.1f} ms, {timing.median(around):.1f} ms")


def _measure_loop(rng) -> tuple[float, str]:
    """The row of a kernel's gradient in the body of a loop."""
    x = jnp.asarray(rng.normal(size=(32, 8, 8, 16)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(3, 3, 16, 16)), jnp.float32)

    def descend(convolve):
        def round_of(_, kernel):
            return kernel - 1e-9 * jax.grad(lambda k: jnp.sum(convolve(x, k) ** 2))(kernel)

        return jax.jit(lambda kernel: jax.lax.fori_loop(0, 20, round_of, kernel))

    def ours(images, kernel):
        with conv_lib.for_loops():
            return conv_lib.conv(images, kernel)

    def milliseconds(function):
        start = time.perf_counter()
        jax.block_until_ready(function(w))
        return 1e3 * (time.perf_counter() - start)

    return _compare(milliseconds, descend(ours), descend(lambda x, w: _xla(x, w, 1)))


def main() -> None:
    """Runs the benchmark; the arguments are above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = {}
    for count, size, channels, groups in SHAPES:
        x = jnp.asarray(rng.normal(size=(count, size, size, channels)), jnp.float32)
        w = jnp.asarray(rng.normal(size=(3, 3, channels // groups, channels)), jnp.float32)

        def milliseconds(function, x=x, w=w):
            start = time.perf_counter()
            jax.block_until_ready(function(x, w))
            return 1e3 * (time.perf_counter() - start)

        def gradients(convolve, groups=groups):
            def loss(images, kernel):
                return jnp.sum(convolve(images, kernel, groups=groups) ** 2)

            return jax.jit(jax.grad(loss, argnums=(0, 1)))

        name = f"{count}x{size}x{size}x{channels}_groups{groups}"
        rows[name] = _compare(milliseconds, gradients(conv_lib.conv), gradients(_xla))
    rows["loop_32x8x8x16"] = _measure_loop(rng)
    timing.report("3x3 convolutions, forward and both gradients", rows, args.json)


if __name__ == "__main__":
    main()
