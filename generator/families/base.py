"""What a family is to the rest of Tilewright: one object that binds a spec to everything made from it.

Commands, emitters and reports call these methods and never ask which family they are talking to.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tilewright.errors import UserError
from tilewright.portrait import Portrait
from tilewright.spec import Spec

if TYPE_CHECKING:
    from tilewright.driver import Runtime


@dataclass(frozen=True)
class Vectors:
    """One folder of test vectors: file name to text."""

    name: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class JobCycles:
    """What the cycle model says of one job of the workload, offered back to back.

    ``done`` counts from the acceptance of the first job to this job's last result; ``active`` are the
    cycles in which the array works on it, ``ideal`` those of an array without a pipeline to fill or a ragged edge.
    """

    job: str
    first_step: int
    last_step: int
    done: int
    active: int
    ideal: float


class Family(ABC):
    """A family of accelerators. Methods take a spec of ``spec_type`` that was accepted.

    What is not abstract is that of a family whose only top is the bare engine: it has no registers, so no driver and no
    board. Its jobs run on the golden model and in simulation; it is routed for a device alone.
    """

    name: ClassVar[str]
    spec_type: ClassVar[type[Spec]]
    runs_demo: ClassVar[bool] = False  # whether `tilewright demo` takes its designs

    def rtlil(self, spec: Any, design_hash: str, *, target: str = "generic") -> str:
        """RTLIL of the spec's own top, module ``spec.design``. ``target`` selects the form of the datapath."""
        return self.stream_rtlil(spec, target=target)

    @abstractmethod
    def stream_rtlil(self, spec: Any, *, target: str = "generic") -> str:
        """RTLIL of the bare engine with stream ports, module ``spec.design``, whatever the top is."""

    def top_is_stream(self, spec: Any) -> bool:
        """Whether the spec's top is that bare engine."""
        return True

    def board_rtlil(self, spec: Any, design_hash: str, *, clock_hz: int, leds_low: bool = False,
                    target: str = "generic") -> str:
        """RTLIL of a board's top, module ``spec.design``: ports clk, uart_rx, uart_tx, and led, at 0 where ``leds_low``."""
        raise self._no_board_top()

    @property
    def has_board_top(self) -> bool:
        """Whether its designs can be put on a board."""
        return type(self).board_rtlil is not Family.board_rtlil

    def require_board_top(self) -> None:
        """``UserError`` where there is no top for boards; asked before the long work that would end with it."""
        if not self.has_board_top:
            raise self._no_board_top()

    def _no_board_top(self) -> UserError:
        from tilewright.families import FAMILIES

        having = ", ".join(name for name, family in FAMILIES.items() if family.has_board_top)
        return UserError(f"family: '{self.name}' has no top for boards; families with one: {having}")

    @abstractmethod
    def blocks(self, spec: Any) -> Mapping[str, str]:
        """Regular expression on a hierarchical cell name (dots between) to the block it counts for, in order."""

    @abstractmethod
    def hls_context(self, spec: Any) -> Mapping[str, Any]:
        """What the HLS templates need, ready-made."""

    def driver_files(self, spec: Any, design_hash: str) -> Mapping[str, str]:
        """Path in the build folder to text: register map, C header, Python driver. None without registers."""
        return {}

    @abstractmethod
    def sim_files(self, spec: Any) -> Mapping[str, str]:
        """Path in the build folder to text: what the ``sim`` folder needs beside the vectors."""

    @abstractmethod
    def benches(self, spec: Any) -> tuple[str, ...]:
        """The cocotb modules in the build's ``sim`` folder that apply to the spec's top: `cosim.<name>`, one at least."""

    @abstractmethod
    def vectors(self, spec: Any, *, seed: int) -> Iterator[Vectors]:
        """Stimulus and golden results: corners, the workload, random shapes. The same seed gives the same bytes.

        Each folder holds ``jobs.txt``, a text file for each stream, and ``cycles.txt``, the cycle model's answer. The one
        called `workload` holds the jobs of the design file.
        """

    @abstractmethod
    def cycles(self, spec: Any) -> list[JobCycles]:
        """The cycle model's answer for the workload."""

    @abstractmethod
    def runtime(self, spec: Any, design_hash: str) -> "Runtime":
        """How jobs of the design run, for `tilewright run` and the driver."""

    @abstractmethod
    def portrait(self, spec: Any) -> Portrait:
        """The design as a report shows it."""
