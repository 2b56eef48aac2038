"""What the benchmarks share: ratios that survive a noisy machine, memory, tables and JSON."""

import json
import os
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table


def paired_ratios(between: Sequence[float], around: Sequence[float]) -> list[float]:
    """Ratios of measurements that were taken alternately: around, between, around, ...

    Each is divided by the mean of its two neighbours, so that a steady drift of the machine
    cancels.

    Args:
      between: n measurements.
      around: n + 1 measurements in the same unit, the first made before `between[0]`.
    """
    if len(around) != len(between) + 1:
        raise ValueError(
            f"{len(between)} measurements need {len(between) + 1} around them, not {len(around)}")
    return [2 * value / (around[i] + around[i + 1]) for i, value in enumerate(between)]


def spread(values: Sequence[float]) -> str:
    """The standard error of the mean of some ratios, and their range, for the table."""
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"+- {error:.3f}, {min(values):.3f} to {max(values):.3f} in {len(values)} rounds"


def median(values: Sequence[float]) -> float:
    """The median, as a float."""
    return float(statistics.median(values))


def peak_memory() -> float:
    """The largest resident memory this program ever had, in MiB.

    On Linux `ru_maxrss` is not below that of the process that started this one, so the number is
    the kernel's own for the address space, which begins with the program.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere


def run_python(*arguments: str, **environment: str) -> str:
    """Runs `python ARGUMENTS` and returns the last line it printed; what else it says is dropped.

    Raises:
      RuntimeError: with the end of its error output, if it failed.
    """
    done = subprocess.run([sys.executable, *arguments], env=os.environ | environment,
                          capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return done.stdout.strip().splitlines()[-1]


def report(title: str, rows: Mapping[str, tuple[float, str]], as_json: bool) -> None:
    """Prints a table of name, number and remark; then, if asked, one line of JSON."""
    table = Table("name", "value", "remark", title=title, title_justify="left")
    table.columns[1].justify = "right"
    for name, (value, remark) in rows.items():
        table.add_row(name, f"{value:.4g}" if value < 1000 else f"{value:.0f}", remark)
    Console(width=110).print(table)
    if as_json:
        print(json.dumps({name: value for name, (value, _) in rows.items()}), flush=True)
