"""The units ``layer_norm`` and ``rms_norm``: one component, with the mean taken off or not."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units import normalization as rtl
from tilewright.rtl.units.frame_fold import FrameSum
from tilewright.sim.golden.units import normalization as golden
from tilewright.units.base import Error, Parameters, Refusal, Timing, Unit
from tilewright.units.fields import Beats, Fields, Lanes, flag, sint, uint
from tilewright.units.frame_schedule import Pass, frame_schedule
from tilewright.units.softmax import SHORT_BEATS, cut_ends, frames_of_scores, kept_lanes
from tilewright.units.stimulus import frame_ends, frame_slices, joined

MEASURED_SEED = 768
MEASURED_FRAMES = 6
FEATURES = 768  # values of a measured frame
MEAN, DEVIATION = 0.3, 1.5  # of a measured frame, before it is scaled to the whole range of a value


class ValueParameters(Parameters):
    """Of frames of values."""

    lanes: Literal[1, 4, 8, 16] = Field(default=1, description="values per beat")
    width: int = Field(default=16, ge=4, le=17, description="bits of a value, signed")
    max_beats: int = Field(default=1024, ge=2, le=4096, description="beats of the longest frame; longer ones are cut")

    def refusals(self) -> Iterator[Refusal]:
        if self.max_beats & self.max_beats - 1:
            yield Refusal("max_beats", "is not a power of two, which the ring of waiting beats needs",
                          1 << self.max_beats.bit_length() - 1)


class NormalizeParameters(ValueParameters):
    """Of :class:`tilewright.rtl.units.normalization.Normalize`."""

    epsilon: int = Field(default=0, ge=0, lt=1 << 32, description="added to the sum of squares: eps * n / scale**2")
    out_fraction: int = Field(default=20, ge=16, le=24, description="a result is in units of 2**-out_fraction")

    @property
    def numbers(self) -> dict[str, int]:
        """What the RTL and the golden model share."""
        return {"epsilon": self.epsilon, "out_fraction": self.out_fraction, "max_beats": self.max_beats}

    @property
    def widths(self) -> rtl.Widths:
        """Of sums and variance."""
        return rtl.Widths(width=self.width, lanes=self.lanes, max_beats=self.max_beats, epsilon=self.epsilon)


def values_input(p: ValueParameters) -> Fields:
    """``x`` per lane; bit k of ``keep``: lane k counts; ``last`` of the frame."""
    return {"x": Lanes(sint(p.width), p.lanes), "keep": uint(p.lanes), "last": flag}


def values_stimulus(p: ValueParameters, rng: np.random.Generator, count: int) -> Beats:
    """Frames as measured unless ``count`` is small, then equal, one-hot, extreme, sorted, normal and random ones."""
    parts = [measured_values(p)] if count >= SHORT_BEATS else []
    left = count - sum(len(part["last"]) for part in parts)
    beats = frames_of_scores(sint(p.width), p.lanes, p.max_beats, rng, left, max(1, 1 << p.width - 4))
    return joined([*parts, {"x": beats["score"], "keep": beats["keep"], "last": beats["last"]}])


def measured_values(p: ValueParameters) -> Beats:
    """The same frames whatever the seed of a proof."""
    rng = np.random.default_rng(MEASURED_SEED)
    length = min(FEATURES // p.lanes, p.max_beats)
    frames = []
    for _ in range(MEASURED_FRAMES):
        values = rng.normal(MEAN, DEVIATION, (length, p.lanes))
        frames.append(np.rint(values * (sint(p.width).high / np.abs(values).max())).astype(np.int64))
    return {"x": np.concatenate(frames), "keep": np.full(MEASURED_FRAMES * length, (1 << p.lanes) - 1, np.int64),
            "last": frame_ends([length] * MEASURED_FRAMES)}


def values_error(
    p: ValueParameters, figure: float | None, *, centered: bool, out_fraction: int, epsilon: int = 0
) -> Error | None:
    """Against float64 on the same values, epsilon included; the results times the root of the frame's length.

    None without a figure, or where a measured frame is too long.
    """
    if figure is None or p.lanes * p.max_beats < FEATURES:
        return None
    count = len(measured_values(p)["last"])

    def deviation(inputs: Beats, outputs: Beats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        exact, errors = [], []
        for frame in frame_slices(inputs["last"][:count]):
            x = inputs["x"][frame].astype(np.float64)
            y = x - x.mean() if centered else x
            wanted = y / np.sqrt(((y * y).sum() + epsilon) / x.size)
            got = outputs["o"][frame] * np.sqrt(x.size) / (1 << out_fraction)
            exact.append(wanted.ravel())
            errors.append((got - wanted).ravel())
        return np.concatenate(exact), np.concatenate(errors)

    quantity = f"sqrt(n) * o / 2^{out_fraction} - {'(x - mean) / sigma' if centered else 'x / rms'}"
    return Error(figure, quantity, "exact result", deviation)


class _Normalize(Unit[NormalizeParameters]):
    """A frame's values by the root of the sum of their squares."""

    centered: ClassVar[bool]
    figures: ClassVar[Mapping[tuple[int, int, int], float]]  # width, out_fraction, epsilon
    parameters_type = NormalizeParameters
    variants: ClassVar[tuple[NormalizeParameters, ...]] = (
        NormalizeParameters(lanes=4, width=8, out_fraction=16, max_beats=256),
        NormalizeParameters(lanes=8, width=17, epsilon=12345, out_fraction=22, max_beats=128),
        NormalizeParameters(lanes=16, epsilon=(1 << 32) - 1, max_beats=64),
        NormalizeParameters(width=4, max_beats=2),
    )

    def input_fields(self, p: NormalizeParameters) -> Fields:
        return values_input(p)

    def output_fields(self, p: NormalizeParameters) -> Fields:
        return {"o": Lanes(sint(p.out_fraction + 2), p.lanes), "last": flag}

    def component(self, p: NormalizeParameters, target: str = "generic") -> rtl.Normalize:
        return rtl.Normalize(lanes=p.lanes, width=p.width, centered=self.centered, target=target, **p.numbers)

    def golden(self, p: NormalizeParameters, beats: Beats) -> Beats:
        o = golden.normalize(beats["x"], kept_lanes(p.lanes, beats), beats["last"], centered=self.centered, **p.numbers)
        return {"o": o, "last": cut_ends(p.max_beats, beats)}

    def hls_context(self, p: NormalizeParameters) -> Mapping[str, Any]:
        return {**p.numbers, "lanes": p.lanes, "width": p.width, "centered": self.centered,
                "total_width": p.widths.total.width, "variance_width": p.widths.variance}

    def timing(self, p: NormalizeParameters) -> Timing:
        serials = p.widths.serials(p.width, centered=self.centered)
        return Timing(int(self._schedule(p, np.ones(1, np.int64))[0]), note=(
            "of a frame of one beat; a longer frame's first result comes after its last beat. "
            f"Frames shorter than {max(serials) + 2} beats wait for the root and the division"))

    def schedule(self, p: NormalizeParameters, beats: Beats) -> NDArray[np.int64]:
        return self._schedule(p, cut_ends(p.max_beats, beats))

    def _schedule(self, p: NormalizeParameters, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        between = Pass(FrameSum.LATENCY, p.widths.serials(p.width, centered=self.centered), 2 * p.max_beats)
        return frame_schedule(ends, [rtl.front_latency(p.lanes), rtl.SCALE_LATENCY], [between])

    def stimulus(self, p: NormalizeParameters, rng: np.random.Generator, count: int) -> Beats:
        return values_stimulus(p, rng, count)

    def error(self, p: NormalizeParameters) -> Error | None:
        return values_error(p, self.figures.get((p.width, p.out_fraction, p.epsilon)), centered=self.centered,
                            out_fraction=p.out_fraction, epsilon=p.epsilon)


class LayerNorm(_Normalize):
    """The mean is taken off."""

    name = "layer_norm"
    title = "LayerNorm of a frame, without gains: exact sums, a root of 32 bits whatever the variance"
    source = "Kim et al., I-BERT: Integer-only BERT Quantization, ICML 2021; the normalising shift is our own"
    centered = True
    figures: ClassVar[Mapping[tuple[int, int, int], float]] = {
        (16, 20, 0): 1.32e-4, (8, 16, 0): 1.28e-2, (17, 22, 12345): 4.47e-5, (16, 20, (1 << 32) - 1): 1.13e-4}


class RmsNorm(_Normalize):
    """The values as they are."""

    name = "rms_norm"
    title = "RMSNorm of a frame, without gains"
    source = "Zhang and Sennrich, Root Mean Square Layer Normalization, NeurIPS 2019; the integer form is our own"
    centered = False
    figures: ClassVar[Mapping[tuple[int, int, int], float]] = {
        (16, 20, 0): 5.84e-5, (8, 16, 0): 4.74e-4, (17, 22, 12345): 5.18e-5, (16, 20, (1 << 32) - 1): 4.9e-5}
