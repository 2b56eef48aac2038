"""Showing how a sweep is going: a bar on a terminal, a line for each chunk elsewhere."""

import collections
import time
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nfnets_jax.sweeps.plan import Chunk, Plan, get_field


class SweepProgress:
    """Shows the cells done, what is running, and the time left.

    Args:
      plan: of the sweep.
      total: cells that are missing.
    """

    def __init__(self, plan: Plan, total: int):
        self._plan, self._total, self._done = plan, total, 0
        self._started = time.perf_counter()
        self._console = Console(highlight=False, soft_wrap=True)
        self._bar = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("run {task.fields[done]}/{task.total}"), BarColumn(bar_width=24),
                TextColumn("{task.fields[text]}"), TimeRemainingColumn(compact=True),
                console=self._console, refresh_per_second=4)
            self._task = self._bar.add_task("", total=total, done=0, text="")

    def __enter__(self):
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_):
        if self._bar:
            self._bar.stop()

    def report(self, chunk: Chunk, step: int, total_steps: int, alive: int) -> None:
        """A population has made some steps."""
        if self._bar:
            share = step / total_steps * len(chunk.cells)
            self._bar.update(
                self._task, completed=min(self._total, self._done + share), done=self._done,
                text=f"{describe_program(self._plan, chunk)}  step {step}/{total_steps}, "
                     f"{alive} training")

    def finish(self, chunk: Chunk, statuses: Iterable[str], seconds: float) -> None:
        """The rows of a population are in the table."""
        counts = collections.Counter(statuses)
        self._done += counts.total()
        if self._bar:
            self._bar.update(self._task, completed=self._done, done=self._done)
        elapsed = time.perf_counter() - self._started
        left = elapsed / self._done * (self._total - self._done)
        counted = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        self.note(f"{self._done}/{self._total} runs  {describe_program(self._plan, chunk)}: "
                  f"{counted}  in {seconds:.1f} s" + (f"  {left:.0f} s left" if left else ""))

    def note(self, text: str) -> None:
        """Writes a line, above the bar if there is one."""
        self._console.print(text, markup=False)


def describe_program(plan: Plan, chunk: Chunk) -> str:
    """The varied fields that all cells of a program share, in words."""
    shared = []
    for field in plan.varied:
        values = {repr(get_field(cell.config, field)) for cell in chunk.program.cells}
        if len(values) == 1 and len(plan.programs) > 1:
            shared.append(f"{field}={values.pop()}")
    return ", ".join(shared) or "all cells"
