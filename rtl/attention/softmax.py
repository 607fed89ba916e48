"""The softmax of an engine: which weights its rows have, and what that means for the pace of keys."""

from collections.abc import Sequence
from dataclasses import dataclass

from tilewright.rtl.attention.maximum_first import MaximumFirstWeights, ParabolaExponential, maximum_first_latency
from tilewright.rtl.attention.online_weights import Exponential, OnlineWeights, online_latency
from tilewright.rtl.attention.rescale import PlainSums, Rescale, RestartedSums, ScaledSums, ShiftedSums
from tilewright.rtl.attention.unified_weights import UnifiedWeights, unified_latency
from tilewright.rtl.attention.weights import OCTAVE_LATENCY, KeyWeights, OctaveWeights


@dataclass(frozen=True, kw_only=True)
class Softmax:
    """What the weights of a row refer to, and how exponentials come about.

    octave : "below" or "above": the greatest octave so far; "none": the greatest score
    fraction, mantissa_bits, guard_bits, table : as ``ExponentFront`` of ``tilewright.rtl.units.softmax_exponent``, with octave
        "none" as ``Exp`` of ``tilewright.rtl.units.exp``
    total_width : bits of a row's sum of weights
    passes : 2: the greatest score of all keys, which come once more before any has a weight; with octave "none"
    parabola : with 2 passes, in place of the table: ln 2, linear and constant coefficient as ``IExp`` of
        ``tilewright.rtl.units.i_exp``
    phi, window, rise_octaves : with octave "none": weights below phi, in steps of a score, of rows that see no score outside
        of window above it; octaves that a weight may be above 1
    """

    octave: str
    fraction: int
    mantissa_bits: int
    guard_bits: int
    table: Sequence[int]
    total_width: int
    passes: int = 1
    parabola: tuple[int, int, int] | None = None
    phi: int | None = None
    window: tuple[int, int] = (0, 0)
    rise_octaves: int = 0

    @property
    def asks(self) -> bool:
        """Whether it depends on the scores of a tile if its keys and values come once more."""
        return self.phi is not None

    @property
    def rescale(self) -> type[Rescale]:
        """How sums come down where the reference rises."""
        if self.octave != "none":
            return ShiftedSums
        if self.asks:
            return RestartedSums
        return PlainSums if self.passes == 2 else ScaledSums

    @property
    def clamps(self) -> bool:
        """Whether a mean may leave the bounds of its values: a sum of weights loses what one of values need not."""
        return issubclass(self.rescale, ScaledSums)

    @property
    def weigh_latency(self) -> int:
        """Cycles from a row's scaled score to its weight."""
        if self.octave != "none":
            return OCTAVE_LATENCY
        if self.passes == 2:
            exponential = ParabolaExponential if self.parabola else Exponential
            return maximum_first_latency(exponential_latency=exponential.LATENCY)
        if self.asks:
            return unified_latency(factor_width=self.mantissa_bits + self.guard_bits + 1, total_width=self.total_width)
        return online_latency(weight_width=self.mantissa_bits + self.guard_bits + 1, total_width=self.total_width)

    def weights(self, *, rows: int, score_width: int, value_width: int, biased: bool, target: str) -> KeyWeights:
        """The component that makes weights of scores."""
        if self.octave != "none":
            return OctaveWeights(
                rows=rows, score_width=score_width, fraction=self.fraction, mantissa_bits=self.mantissa_bits,
                guard_bits=self.guard_bits, table=self.table, octave=self.octave, total_width=self.total_width,
                value_width=value_width, biased=biased, target=target)
        if self.passes == 2:
            return MaximumFirstWeights(
                rows=rows, score_width=score_width, exponential=self._exponential(target), total_width=self.total_width,
                biased=biased, target=target)
        if self.phi is not None:
            return UnifiedWeights(
                rows=rows, score_width=score_width, fraction=self.fraction, mantissa_bits=self.mantissa_bits,
                guard_bits=self.guard_bits, table=self.table, total_width=self.total_width, value_width=value_width,
                phi=self.phi, window=self.window, rise_octaves=self.rise_octaves, biased=biased, target=target)
        return OnlineWeights(
            rows=rows, score_width=score_width, fraction=self.fraction, mantissa_bits=self.mantissa_bits,
            guard_bits=self.guard_bits, table=self.table, total_width=self.total_width, value_width=value_width, biased=biased,
            target=target)

    def _exponential(self, target: str) -> Exponential | ParabolaExponential:
        if self.parabola:
            ln2, linear, constant = self.parabola
            return ParabolaExponential(ln2=ln2, linear=linear, constant=constant, target=target)
        return Exponential(fraction=self.fraction, mantissa_bits=self.mantissa_bits, guard_bits=self.guard_bits,
                           table=self.table, target=target)
