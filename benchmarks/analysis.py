"""What the analyses cost: Gram matrices, Hessian products and Lanczos, stochastic rounding.

    python -m benchmarks.analysis [--json] [--only=gram,curvature,rounding]

README.md says what each row is, and has the last table.
"""

import argparse
import importlib

from benchmarks import timing

PARTS = ("gram", "curvature", "rounding")


def main() -> None:
    """Runs the benchmark; the arguments are above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--only", default=",".join(PARTS), help="a part, or several with commas")
    args = parser.parse_args()
    parts = args.only.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"--only={args.only}: any of {', '.join(PARTS)}")
    rows = {}
    for part in parts:
        rows |= importlib.import_module(f"benchmarks.analysis_{part}").measure()
    timing.report("the analyses", rows, args.json)


if __name__ == "__main__":
    main()
