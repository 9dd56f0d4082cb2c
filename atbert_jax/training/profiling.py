"""A trace of some training steps, for TensorBoard's profiler."""

from pathlib import Path

import jax
from rich.console import Console

# Steps before the trace begins: the first ones compile, and fill what is read ahead.
LEFT_OUT = 5


class Trace:
    """Traces some of the steps of a run.

    The trace lies in `workdir/tensorboard`, where TensorBoard with the plugin `xprof` shows it.

    Args:
        workdir: The run's folder.
        steps: How many are traced; 0 traces nothing. A run that ends before has a shorter trace.
        console: Told where the trace is.
    """

    def __init__(self, workdir: Path, steps: int, console: Console) -> None:
        self._folder, self._steps, self._console = workdir / "tensorboard", steps, console
        self._done, self._runs = 0, False

    def advance(self, latest: jax.Array) -> None:
        """To be called before each step.

        Args:
            latest: A result of the step before, which is waited for where the trace begins or ends.
        """
        if self._steps and self._done == LEFT_OUT:
            jax.block_until_ready(latest)
            jax.profiler.start_trace(self._folder)
            self._runs = True
        elif self._runs and self._done == LEFT_OUT + self._steps:
            jax.block_until_ready(latest)
            self.close()
        self._done += 1

    def close(self) -> None:
        """Writes the trace, if it is not written yet."""
        if self._runs:
            self._runs = False
            jax.profiler.stop_trace()
            count = min(self._steps, self._done - LEFT_OUT)
            self._console.print(
                f"{count} steps are traced: tensorboard --logdir {self._folder}",
                highlight=False,
                markup=False,
            )
