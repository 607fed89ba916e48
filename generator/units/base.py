"""What a numeric unit is: an arithmetic contract, and what binds its RTL, golden model and HLS C++ together.

A unit takes beats from a stream and gives beats to a stream. :class:`Elementwise` gives a result for each beat;
:class:`Reduction` one for each frame, a run of beats of which the final one has ``last`` set; anything else is a
:class:`Unit` and says itself when its results come.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from importlib.resources import files
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from amaranth.lib import wiring
from numpy.typing import NDArray
from pydantic import model_validator
from tilewright.spec import ContradictionError, Part, Problem
from tilewright.units.fields import Beats, Fields, beat_width, lanes_of
from tilewright.units.stimulus import all_codes, corner_beats, joined, random_beats

MAX_DOMAIN = 1 << 20  # input codes up to which a proof tries every one
FULL_SAMPLES = 1_000_000  # what the full proof tries beyond that


class Parameters(Part):
    """Parameters of a unit: strict, frozen, no unknown names; each has a default, the catalogue's configuration."""

    def refusals(self) -> Iterator["Refusal"]:
        """Why these values make no unit, or one that misses its claim; each field was valid alone."""
        yield from ()

    @model_validator(mode="after")
    def _check_together(self) -> "Parameters":
        if problems := tuple(
                Problem((refusal.field,), refusal.text(getattr(self, refusal.field))) for refusal in self.refusals()):
            raise ContradictionError(problems)
        return self


@dataclass(frozen=True)
class Refusal:
    """A parameter that cannot stand, why, and the nearest value that can."""

    field: str
    reason: str
    nearest: object

    def text(self, value: object) -> str:
        """What follows the field's name in a message."""
        return f"{value} {self.reason}; the nearest legal value is {self.nearest}"


@dataclass(frozen=True)
class Timing:
    """When nothing stalls: a result comes ``latency`` cycles after the beat that completes it was taken.

    ``interval`` cycles lie between two beats taken. A beat taken in cycle t whose result is taken in cycle
    t + 1 has latency 1.
    """

    latency: int
    interval: int = 1
    note: str = ""  # what a reader must know beside the two numbers: a dependence on the frame, say


@dataclass(frozen=True)
class Error:
    """How far the golden model is from real arithmetic.

    A proof reproduces ``figure`` within 10 %; one that is only a ``bound``, it does not exceed.

    ``deviation(inputs, outputs)`` gives, for results to judge, the abscissa of the error plot and the signed
    error, two float64 arrays of one length.
    """

    figure: float  # the claimed maximum of |error|
    quantity: str  # what is measured, as a label: "y / 2^15 - 2^-t"
    abscissa: str  # what the plot runs over: "t"
    deviation: Callable[[Beats, Beats], tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]]
    source: str = ""  # where the figure or the form comes from, when not from the unit's own source
    bound: bool = False


@dataclass(frozen=True)
class Cut:
    """A multiplier that a proof of equality takes out: instance ``name`` of instance ``parent`` (``"outer.inner"``) of the RTL.

    In ``parent`` its operands are the nets ``a`` and ``b``, its product is the net ``p``. The operands of a beat are there
    ``cycle`` cycles after the beat was taken, their product ``latency`` cycles later, nothing stalled.
    """

    parent: str
    name: str
    a_width: int
    b_width: int
    cycle: int
    latency: int


@dataclass(frozen=True)
class Specification:
    """That ``templates/units/specification/<name>.v.j2`` says what the result of a beat is.

    The template sees what that of the HLS function sees, ``context``, and ``ports``: a name, ``high`` bit and ``signed`` for
    each field. The module ``specification`` has an input of each and the output ``holds``; with a ``cut`` also the
    input ``p`` and the outputs ``a`` and ``b``.
    """

    context: Mapping[str, Any] = dataclass_field(default_factory=dict)
    cut: Cut | None = None


P = TypeVar("P", bound=Parameters)


class Unit(ABC, Generic[P]):
    """A numeric unit; one line in ``tilewright.units.UNITS`` makes it known and proved.

    The component has ``i : In(stream.Signature(layout))`` and ``o : Out(...)`` whose layouts have the fields that
    ``input_fields`` and ``output_fields`` name, in that order. Frames carry a field ``last``, unsigned 1.
    The HLS function of a call takes one beat (an elementwise unit) or one frame, and writes its results.
    """

    name: ClassVar[str]  # an identifier: command line, folder, module, HLS function
    title: ClassVar[str]  # one line for the catalogue
    source: ClassVar[str]  # the paper or the program it follows
    parameters_type: ClassVar[type[Parameters]]
    variants: ClassVar[tuple[Parameters, ...]] = ()  # what the full proof covers beside the defaults

    def full_beats(self, p: P) -> int:
        """Beats of the full proof where not every input code is tried: FULL_SAMPLES values of the widest field."""
        return -(-FULL_SAMPLES // max(map(lanes_of, self.input_fields(p).values())))

    @abstractmethod
    def input_fields(self, p: P) -> Fields:
        """Name to format, in layout order."""

    @abstractmethod
    def output_fields(self, p: P) -> Fields:
        """Name to format, in layout order."""

    @abstractmethod
    def component(self, p: P, target: str = "generic") -> wiring.Component:
        """The RTL."""

    @abstractmethod
    def golden(self, p: P, beats: Beats) -> Beats:
        """Every result of these beats, in order."""

    @abstractmethod
    def hls_context(self, p: P) -> Mapping[str, Any]:
        """Values for the HLS template: integers, identifiers, lists and mappings of these.

        The framework adds ``name``, and ``input`` and ``output``: by field ``type``, ``width``, ``signed``, ``lanes``.
        """

    def hls_template(self) -> str:
        """Text of the template of the header with the HLS function; ``templates/hls/units/<name>.h.j2``."""
        return (files("tilewright.templates") / f"hls/units/{self.name}.h.j2").read_text(encoding="utf-8")

    @abstractmethod
    def timing(self, p: P) -> Timing:
        """Latency and interval, exact; for frames of data-dependent length see ``schedule``."""

    @abstractmethod
    def schedule(self, p: P, beats: Beats) -> NDArray[np.int64]:
        """The cycle in which each result is taken, none stalled, counted from that of the first beat."""

    @abstractmethod
    def stimulus(self, p: P, rng: np.random.Generator, count: int) -> Beats:
        """About ``count`` legal beats, hard ones first; frames are whole."""

    def domain(self, p: P) -> int | None:
        """Number of input codes when a proof shall try every one of them, by ``exhaustive``."""
        return None

    def exhaustive(self, p: P) -> Beats:
        """Every input code once; only where ``domain`` is not None."""
        raise NotImplementedError(f"{self.name} has no exhaustive stimulus")

    def specification(self, p: P) -> Specification | None:
        """What a proof compares the RTL with, for every input; None where nothing is written down or it takes too long."""
        return None

    def error(self, p: P) -> Error | None:
        """The claim against float64; None where a result is exact."""
        return None


class Elementwise(Unit[P]):
    """A result for each beat, in order; the stimulus covers every input code where there are at most 2**20."""

    def schedule(self, p: P, beats: Beats) -> NDArray[np.int64]:
        timing = self.timing(p)
        return np.arange(len(next(iter(beats.values()))), dtype=np.int64) * timing.interval + timing.latency

    def domain(self, p: P) -> int | None:
        width = beat_width(self.input_fields(p))
        return 1 << width if 1 << width <= MAX_DOMAIN else None

    def exhaustive(self, p: P) -> Beats:
        return all_codes(self.input_fields(p))

    def stimulus(self, p: P, rng: np.random.Generator, count: int) -> Beats:
        fields = self.input_fields(p)
        corners = corner_beats(fields, count)
        return joined([corners, random_beats(fields, rng, max(count - len(next(iter(corners.values()))), 1))])


class Reduction(Unit[P]):
    """One result for each frame; a new frame may begin in the cycle after the last beat of the one before."""

    def schedule(self, p: P, beats: Beats) -> NDArray[np.int64]:
        timing = self.timing(p)
        return np.flatnonzero(beats["last"]).astype(np.int64) * timing.interval + timing.latency
