"""Beats of streams as numbers, and the place where one is wrong: shared by the benches of all families."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ResultBeat = Sequence[int]  # data, keep, last


@dataclass(frozen=True)
class Lanes:
    """Elements side by side in one beat, lane 0 in the low bits."""

    lanes: int
    width: int
    signed: bool

    def pack(self, values: Iterable[int]) -> int:
        """One beat as an unsigned number."""
        mask = (1 << self.width) - 1
        packed = 0
        for lane, value in enumerate(values):
            packed |= (value & mask) << (lane * self.width)
        return packed

    def unpack(self, packed: int) -> list[int]:
        """The elements of a beat."""
        mask = (1 << self.width) - 1
        values = [(packed >> (lane * self.width)) & mask for lane in range(self.lanes)]
        if self.signed:
            sign = 1 << (self.width - 1)
            values = [(value ^ sign) - sign for value in values]
        return values

    def first_wrong(self, expected: ResultBeat, actual: ResultBeat) -> int | None:
        """The first lane in use whose value differs; None when something else is wrong."""
        wanted, got = self.unpack(expected[0]), self.unpack(actual[0])
        return next((lane for lane in range(self.lanes) if expected[1] >> lane & 1 and wanted[lane] != got[lane]), None)


@dataclass(frozen=True)
class Place:
    """Where a result beat is wrong and what should stand there.

    ``lane`` is None when no value is wrong but keep, last or an unused lane; the other fields are then those
    of lane 0.
    """

    index: tuple[int, ...]  # into the job's result
    lane: int | None
    unit: str  # the part of the engine that made the value
    expected: int
    actual: int
    text: str  # all of it and the job, in words
