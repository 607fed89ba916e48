"""What an engine of the family is: the contract of each value of `engine.schedule`."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tilewright.families.attention.spec import AttentionSpec
from tilewright.portrait import Portrait

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from tilewright.families.attention.cycles import JobCycles, JobShape
    from tilewright.families.attention.vectors import IntArray, Job
    from tilewright.sim.cosim.attention_ports import AttentionPorts


class Schedule(ABC):
    """An order in which scores, weights and means are computed, and the engine that does it.

    Methods take a spec of this schedule that was accepted. All engines take the same jobs and have the ports job, q, k, v
    and result. What is not abstract is that of an engine whose beats of q and result hold ``lanes`` elements of one row.
    """

    name: ClassVar[str]

    @abstractmethod
    def stream_rtlil(self, spec: AttentionSpec, *, target: str = "generic") -> str:
        """As that of :class:`tilewright.families.base.Family`."""

    @abstractmethod
    def blocks(self, spec: AttentionSpec) -> Mapping[str, str]:
        """As those of :class:`tilewright.families.base.Family`."""

    @abstractmethod
    def hls_context(self, spec: AttentionSpec) -> Mapping[str, Any]:
        """As that of :class:`tilewright.families.base.Family`."""

    def ports(self, spec: AttentionSpec) -> "AttentionPorts":
        """``design.json``: the ports as the benches read them."""
        from tilewright.families.attention.ports import ports

        return ports(spec)

    def harness(self, spec: AttentionSpec) -> dict[str, Any]:
        """What ``templates/sim/harness.cpp.j2`` needs."""
        from tilewright.families.attention.harness import harness

        return harness(self.ports(spec))

    def cosim_modules(self, spec: AttentionSpec) -> tuple[str, ...]:
        """The modules of ``tilewright.sim.cosim`` that a build needs beside those of all families."""
        return ("attention_ports", "attention_tests")

    @abstractmethod
    def golden(self, spec: AttentionSpec, job: "Job") -> "IntArray":
        """Result of ``job``, (heads, queries, head_dim)."""

    def again(self, spec: AttentionSpec, job: "Job") -> "IntArray | None":
        """Which tiles of ``job`` come once more, (kv_heads, tiles), 0 or 1; None where none ever does."""
        return None

    def columns(self, spec: AttentionSpec, job: "Job") -> dict[str, int]:
        """The line of ``job`` in ``jobs.txt``."""
        return job.fields

    @abstractmethod
    def operands(self, spec: AttentionSpec, job: "Job") -> "dict[str, IntArray]":
        """Beats of ``job`` on each stream but ``job`` and ``result``, in or out of the engine, (beats, numbers)."""

    def pack_result(self, spec: AttentionSpec, result: "ArrayLike") -> "IntArray":
        """Beats of a result (heads, queries, head_dim), (beats, lanes)."""
        from tilewright.families.attention.vectors import pack_rows

        return pack_rows(spec, result)

    def result_lines(self, spec: AttentionSpec, result: "ArrayLike") -> list[list[int | str]]:
        """Those beats as ``result.txt`` has them: "-" for a lane that does not count."""
        return self.pack_result(spec, result).tolist()

    def unpack_result(self, spec: AttentionSpec, beats: "ArrayLike", queries: int) -> "IntArray":
        """The (heads, queries, head_dim) that :meth:`pack_result` made into ``beats``; ValueError if it cannot be."""
        from tilewright.families.attention.vectors import unpack_rows

        return unpack_rows(spec, beats, queries)

    def result_beats(self, spec: AttentionSpec, queries: int) -> int:
        """Beats of a job's result."""
        return spec.heads * queries * spec.chunks

    @abstractmethod
    def walk(self, spec: AttentionSpec, jobs: "Sequence[JobShape]") -> "Iterator[JobCycles]":
        """The cycle model: ``jobs`` offered back to back, no port ever stalls."""

    @abstractmethod
    def portrait(self, spec: AttentionSpec) -> Portrait:
        """The design as a report shows it."""
