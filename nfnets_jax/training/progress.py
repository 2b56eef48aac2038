"""Showing how a run is going: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressDisplay:
    """Shows step, loss, accuracy, examples a second and the time left.

    Args:
      total_steps: length of the run.
      start_step: where it continues from.
      examples_per_step: size of the global batch; 0 shows steps a second.
      enabled: False on the processes that stay silent.
    """

    def __init__(self, total_steps: int, start_step: int, examples_per_step: int, enabled: bool):
        self._console = Console(quiet=not enabled, highlight=False, soft_wrap=True)
        self._total = total_steps
        self._examples = examples_per_step
        self._bar = None
        if self._console.is_terminal and enabled:
            self._bar = Progress(
                TextColumn("step {task.completed}/{task.total}"), BarColumn(bar_width=24),
                TextColumn("{task.fields[text]}"), TimeRemainingColumn(compact=True),
                console=self._console, refresh_per_second=4)
            self._task = self._bar.add_task("", total=total_steps, completed=start_step, text="")
        self._seconds = 0.0  # spent on the steps since the last report
        self._steps = 0
        self._started = time.perf_counter()

    def __enter__(self):
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_):
        if self._bar:
            self._bar.stop()

    def start_clock(self) -> None:
        """The time from here on belongs to the steps."""
        self._started = time.perf_counter()

    def stop_clock(self) -> None:
        """The time from here on belongs to something else, such as an evaluation."""
        self._seconds += time.perf_counter() - self._started

    def advance(self) -> None:
        """One more step has been dispatched."""
        self._steps += 1
        if self._bar:
            self._bar.advance(self._task)

    def rate(self) -> float:
        """Examples (or steps) a second since the last call; the clock must be stopped."""
        rate = self._steps * (self._examples or 1) / max(self._seconds, 1e-9)
        self._seconds, self._steps = 0.0, 0
        return rate

    def show(self, step: int, metrics: Mapping[str, float], rate: float) -> None:
        """Shows the training metrics of the last steps."""
        unit = "examples/s" if self._examples else "steps/s"
        text = "  ".join(f"{name} {metrics[name]:.4g}" for name in ("loss", "accuracy")
                         if name in metrics) + f"  {rate:.0f} {unit}"
        if self._bar:
            self._bar.update(self._task, text=text)
        else:
            left = (self._total - step) * (self._examples or 1) / rate
            self.note(f"step {step}/{self._total}  {text}  {_duration(left)} left")

    def note(self, text: str) -> None:
        """Writes a line, above the bar if there is one."""
        self._console.print(text, markup=False)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
