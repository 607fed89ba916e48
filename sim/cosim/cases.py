"""What the cases of every family share: jobs of a vectors folder with the beats of their streams."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self


@dataclass(frozen=True, kw_only=True)
class StreamCase:
    """Jobs and, in an attribute for each of ``STREAMS``, the beats of all of them, one job behind the other.

    A family's own case has these attributes and ``load``, which reads a folder; its ports' ``count`` tells how many beats of
    a stream belong to a job.
    """

    STREAMS: ClassVar[tuple[str, ...]]
    name: str
    jobs: list[Any]
    result: list[tuple[int, int]]  # data, keep
    cycles: int | None = None  # counter_cycles of the whole case when nothing stalls

    @classmethod
    def load(cls, folder: Path, ports: Any) -> Self:
        """Read a folder; ``ValueError`` when the files do not fit the jobs."""
        raise NotImplementedError(f"{cls.__name__} reads no folder")

    @classmethod
    def load_all(cls, folder: Path, ports: Any) -> list[Self]:
        """Every case below ``folder``, by name; at least one."""
        cases = [cls.load(path.parent, ports) for path in sorted(folder.glob("*/jobs.txt"))]
        if not cases:
            raise ValueError(f"{folder}: no vectors")
        return cases

    @classmethod
    def joined(cls, cases: Sequence[Self]) -> Self:
        """The jobs of all cases, one behind the other."""
        streams: dict[str, Any] = {stream: [beat for case in cases for beat in getattr(case, stream)] for stream in cls.STREAMS}
        return cls(name="+".join(case.name for case in cases), jobs=[job for case in cases for job in case.jobs], **streams)

    def only(self, number: int, ports: Any, *, count: int = 1) -> Self:
        """``count`` jobs from ``number`` on, without the others; the first must need nothing of the job before."""
        streams: dict[str, Any] = {}
        for stream in self.STREAMS:
            first, last = (sum(ports.count(stream, job) for job in self.jobs[:end]) for end in (number, number + count))
            streams[stream] = getattr(self, stream)[first:last]
        return type(self)(name=f"{self.name}[{number}]", jobs=self.jobs[number : number + count], **streams)

    def last(self, stream: str, ports: Any) -> list[int]:
        """The ``last`` bit of every beat of ``stream``."""
        bits: list[int] = []
        for count in (ports.count(stream, job) for job in self.jobs):
            bits += [0] * (count - 1) + [1] * min(count, 1)
        return bits


def lines_of(path: Path) -> list[list[str]]:
    """The words of each line."""
    return [line.split() for line in path.read_text().splitlines()]
