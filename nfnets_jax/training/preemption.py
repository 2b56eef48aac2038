"""Being asked to stop: SIGTERM (as a preempted machine gets it) and Ctrl-C."""

import signal

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """Notices a request to stop, at a step that all processes agree on.

    With one process a signal handler is installed while the `with` block runs; a second Ctrl-C
    stops at once. With several, JAX's own preemption service listens to SIGTERM and makes all
    processes stop at the same step. Enter it after `distributed.initialize`.
    """

    def __init__(self):
        self.signal: signal.Signals | None = None
        self._previous = {}

    def __enter__(self):
        if jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._notice)
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _notice(self, number, _):
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

    def reached(self, step: int) -> bool:
        """Whether to save and stop after `step`; the same answer on every process."""
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            self.signal = signal.SIGTERM
        return self.signal is not None
