"""What a person sees on stderr while synthesis runs."""

import time
from collections.abc import Mapping
from types import TracebackType

from rich.live import Live
from rich.text import Text
from tilewright.console import progress

QUIET_SECONDS = 30.0  # between lines, where the lines cannot be rewritten


class Watcher:
    """Progress of a synthesis: on a terminal lines that are rewritten, elsewhere a line now and then."""

    def __init__(self) -> None:
        self._live = None
        if progress.is_terminal:
            self._live = Live(console=progress, transient=True, refresh_per_second=4)
        self._spoken = time.monotonic()

    def __enter__(self) -> "Watcher":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """A new stage."""
        self._spoken = time.monotonic()
        if self._live:
            self._live.update(Text(text))
        else:
            progress.print(text)

    def watch(self, phases: Mapping[int, tuple[str, float]], predicted: float) -> None:
        """The state of every seed under way."""
        lines = [f"seed {seed}: {phase}, {seconds:.0f} s of about {max(predicted, seconds):.0f} s"
                 for seed, (phase, seconds) in sorted(phases.items())]
        if self._live:
            self._live.update(Text("\n".join(lines)))
        elif lines and time.monotonic() - self._spoken > QUIET_SECONDS:
            self._spoken = time.monotonic()
            progress.print("; ".join(lines))
