"""What the softmax units share: their fields, their stimulus, and their distance from the exact function."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tilewright.formats import IntFormat
from tilewright.sim.golden.units import frames as golden_frames
from tilewright.units.base import Error, Parameters, Refusal
from tilewright.units.fields import Beats, Fields, Lanes, flag, sint, uint
from tilewright.units.stimulus import frame_ends, frame_lengths, frame_slices, joined, random_values

MEASURED_SEED = 2020
MEASURED_SCORES = (64,) * 24 + (256,) * 6 + (1024,)  # scores of the frames that the error is measured on
SHORT_BEATS = 1000  # a stimulus of fewer beats goes without them
SPREAD = 3.0   # standard deviation of the scores in a measured frame
OFFSET = 8.0   # and of what is added to all of them


class SoftmaxParameters(Parameters):
    """What every softmax of a stream has."""

    lanes: Literal[1, 4, 8, 16] = Field(default=1, description="scores per beat")
    score_width: int = Field(default=16, ge=4, le=18, description="bits of a score, signed")
    out_bits: int = Field(default=16, ge=2, le=16, description="a probability is in units of 2**-out_bits")
    max_beats: int = Field(default=1024, ge=2, le=4096, description="beats of the longest frame; longer ones are cut")

    def refusals(self) -> Iterator[Refusal]:
        if self.max_beats & self.max_beats - 1:
            yield Refusal("max_beats", "is not a power of two, which the ring of waiting beats needs",
                          1 << self.max_beats.bit_length() - 1)


class FixedPointSoftmaxParameters(SoftmaxParameters):
    """Scores with a binary point, exponentials by table and linear interpolation."""

    fraction: int = Field(default=10, ge=2, le=14, description="fraction bits of a score")
    table_bits: int = Field(default=5, ge=1, le=8, description="leading fraction bits that address the table")
    mantissa_bits: int = Field(default=15, ge=4, le=16, description="fraction bits of the table")
    guard_bits: int = Field(default=8, ge=0, le=8, description="further fraction bits of the sum")

    def refusals(self) -> Iterator[Refusal]:
        yield from super().refusals()
        if self.fraction > self.score_width:
            yield Refusal("fraction", f"is more than the {self.score_width} bits of a score", self.score_width)
        if self.table_bits >= self.fraction:
            yield Refusal("table_bits", f"leaves nothing of {self.fraction} fraction bits to interpolate in",
                          self.fraction - 1)
        if self.out_bits > self.mantissa_bits + 15:
            yield Refusal("out_bits", f"is more than {self.mantissa_bits} bits of a mantissa give", self.mantissa_bits + 15)

    @property
    def precision(self) -> tuple[int, int, int, int, int]:
        """What the error depends on: fraction, mantissa, table, guard and result bits."""
        return self.fraction, self.mantissa_bits, self.table_bits, self.guard_bits, self.out_bits


def softmax_inputs(p: SoftmaxParameters) -> Fields:
    """``score`` per lane; bit k of ``keep``: lane k counts; ``last`` of the frame."""
    return {"score": Lanes(sint(p.score_width), p.lanes), "keep": uint(p.lanes), "last": flag}


def softmax_outputs(p: SoftmaxParameters) -> Fields:
    """``probability`` per lane, ``last`` of the frame."""
    return {"probability": Lanes(uint(p.out_bits), p.lanes), "last": flag}


def kept_lanes(lanes: int, beats: Beats) -> NDArray[np.bool_]:
    """``[beat, lane]`` of the mask."""
    return (beats["keep"][:, None] >> np.arange(lanes) & 1).astype(bool)


def softmax_results(p: SoftmaxParameters, beats: Beats, probability: NDArray[np.int64]) -> Beats:
    """The fields of a result; frames end where the unit cuts them, too."""
    return {"probability": probability, "last": golden_frames.frame_ends(beats["last"], p.max_beats)}


def measured_frames(p: SoftmaxParameters, fraction: float) -> Beats:
    """The same frames whatever the seed of a proof: normal scores, a common offset, no lane left out."""
    rng = np.random.default_rng(MEASURED_SEED)
    lengths = [min(max(scores // p.lanes, 1), p.max_beats) for scores in MEASURED_SCORES]
    number = sint(p.score_width)
    scores = [np.rint((rng.normal(0, SPREAD, (length, p.lanes)) + rng.normal(0, OFFSET)) * 2.0**fraction)
              for length in lengths]
    score = np.clip(np.concatenate(scores), number.low, number.high).astype(np.int64)
    return {"score": score, "keep": np.full(len(score), (1 << p.lanes) - 1, np.int64), "last": frame_ends(lengths)}


def is_measurable(p: SoftmaxParameters) -> bool:
    """Whether the longest of the measured frames fits: figures hold for whole frames alone."""
    return p.lanes * p.max_beats >= max(MEASURED_SCORES)


def softmax_stimulus(p: SoftmaxParameters, rng: np.random.Generator, count: int, fraction: float) -> Beats:
    """The measured frames unless ``count`` is small, then :func:`frames_of_scores`."""
    parts = [measured_frames(p, fraction)] if count >= SHORT_BEATS else []
    left = count - sum(len(part["last"]) for part in parts)
    spread = max(1, round(SPREAD * 2.0**fraction))
    return joined([*parts, frames_of_scores(sint(p.score_width), p.lanes, p.max_beats, rng, left, spread)])


def frames_of_scores(
    number: IntFormat, lanes: int, max_beats: int, rng: np.random.Generator, count: int, spread: int
) -> Beats:
    """About ``count`` beats: frames of equal, one-hot, extreme, rising, falling, normal and random scores.

    Some have lanes left out. Among them are one-beat frames in a row, frames of which no score counts, and one without
    a last beat that is cut; at least 200 beats. ``spread`` is the standard deviation of the normal ones.
    """
    short = count < SHORT_BEATS // 4
    longest = min(max_beats, 24 if short else 200)
    lengths = [1] * 6 + [max_beats + 3] * (not short) + frame_lengths(rng, max(count, 200), longest)
    last = frame_ends(lengths)
    full = (1 << lanes) - 1
    score = random_values(number, rng, (len(last), lanes))
    keep = np.full(len(last), full, np.int64)
    for place, frame in enumerate(frame_slices(last)):
        shape = score[frame].shape
        match place % 9:
            case 0:
                score[frame] = rng.integers(number.low, number.high, endpoint=True)
            case 1:
                score[frame] = number.low
                score[frame].flat[rng.integers(0, score[frame].size)] = number.high
            case 2:
                score[frame] = rng.choice([number.low, 0, 1, number.high], shape)
            case 3:
                score[frame] = np.sort(score[frame], axis=None).reshape(shape)
            case 4:
                score[frame] = np.sort(score[frame], axis=None)[::-1].reshape(shape)
            case 5 | 6:
                normal = np.rint(rng.normal((number.low + number.high) / 2, spread, shape))
                score[frame] = np.clip(normal, number.low, number.high)
        match place % 4:
            case 1:
                keep[frame] = rng.integers(0, full, shape[0], endpoint=True)
            case 2:
                keep[frame.stop - 1] = full >> int(rng.integers(0, lanes))
        if place % 23 == 3:
            keep[frame] = 0
    return {"score": score, "keep": keep, "last": last}


def softmax_error(p: SoftmaxParameters, fraction: float, figure: float, source: str = "") -> Error:
    """Largest distance of a probability from the exact one of the same scores, over :func:`measured_frames`."""
    count = len(measured_frames(p, fraction)["last"])

    def deviation(inputs: Beats, outputs: Beats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        scores = inputs["score"][:count] / 2.0**fraction
        probability = outputs["probability"][:count] / float(1 << p.out_bits)
        errors, places = [], []
        for frame in frame_slices(inputs["last"][:count]):
            exact = np.exp(scores[frame] - scores[frame].max())
            exact /= exact.sum()
            errors.append((probability[frame] - exact).ravel())
            places.append(exact.ravel())
        return np.concatenate(places), np.concatenate(errors)

    quantity = f"probability / 2^{p.out_bits} - softmax(score / 2^{fraction:g})"
    return Error(figure, quantity, "exact probability", deviation, source)


def cut_ends(max_beats: int, beats: Beats) -> NDArray[np.int64]:
    """1 at the last beat of each frame, also of one that is cut."""
    return golden_frames.frame_ends(beats["last"], max_beats)

