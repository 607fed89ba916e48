"""The unit ``softmax_edge_moe``."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units import softmax_edge_moe as rtl
from tilewright.sim.golden.units import softmax_edge_moe as golden
from tilewright.units import tables
from tilewright.units.base import Error, Parameters, Refusal, Timing, Unit
from tilewright.units.fields import Beats, Fields, Lanes, flag, sint, uint
from tilewright.units.frame_schedule import Pass, frame_schedule
from tilewright.units.softmax import MEASURED_SEED, OFFSET, SHORT_BEATS, SPREAD, cut_ends, frames_of_scores, kept_lanes
from tilewright.units.stimulus import frame_ends, frame_slices, joined

MEASURED_SCORES = (16, 64, 128)  # of every row of a measured frame
LOG2E = 94548  # round(log2(e) * 2**16)


class EdgeMoeSoftmaxParameters(Parameters):
    """Of :class:`tilewright.rtl.units.softmax_edge_moe.SoftmaxEdgeMoe`."""

    lanes: Literal[1, 4] = Field(default=1, description="scores per beat, of different rows")
    score_width: int = Field(default=32, ge=8, le=32, description="bits of a score, signed")
    fraction: int = Field(default=22, ge=12, le=22, description="bits behind the point, of everything")
    table_bits: int = Field(default=10, ge=6, le=10, description="leading fraction bits that address the table")
    rows: Literal[8, 16, 32] = Field(default=8, description="rows that take turns, per lane")
    max_beats: int = Field(default=1024, ge=8, le=4096, description="beats of the longest frame; longer ones are cut")

    def refusals(self) -> Iterator[Refusal]:
        if self.max_beats & self.max_beats - 1:
            yield Refusal("max_beats", "is not a power of two, which the ring of waiting beats needs",
                          1 << self.max_beats.bit_length() - 1)
        elif self.max_beats < self.rows:
            yield Refusal("max_beats", f"is less than a score for each of {self.rows} rows", self.rows)
        if self.fraction > self.score_width:
            yield Refusal("fraction", f"is more than the {self.score_width} bits of a score", self.score_width)

    @property
    def numbers(self) -> dict[str, Any]:
        """What the RTL and the golden model share."""
        return {"fraction": self.fraction, "table": tables.exp2_falling(self.fraction, self.table_bits), "rows": self.rows,
                "max_beats": self.max_beats}

    @property
    def total_width(self) -> int:
        """Bits of a row's sum."""
        return rtl.sum_width(fraction=self.fraction, rows=self.rows, max_beats=self.max_beats)


class SoftmaxEdgeMoe(Unit[EdgeMoeSoftmaxParameters]):
    """Rows in turn, each with a sum and a running maximum."""

    name = "softmax_edge_moe"
    title = "Edge-MoE's softmax: sum and running maximum of interleaved rows in one pass, truncated at 2^-22"
    source = ("Sarkar et al., Edge-MoE: Memory-Efficient Multi-Task Vision Transformer Architecture with Task-Level "
              "Sparsity via Mixture-of-Experts, ICCAD 2023")
    parameters_type = EdgeMoeSoftmaxParameters
    variants: ClassVar[tuple[EdgeMoeSoftmaxParameters, ...]] = (
        EdgeMoeSoftmaxParameters(lanes=4, rows=16, max_beats=2048),
        EdgeMoeSoftmaxParameters(score_width=16, fraction=12, table_bits=6, max_beats=8),
    )
    figures: ClassVar[Mapping[tuple[int, ...], float]] = {  # fraction, table_bits, rows, lanes
        (22, 10, 8, 1): 3.94e-6, (22, 10, 16, 4): 1.04e-5}

    def input_fields(self, p: EdgeMoeSoftmaxParameters) -> Fields:
        return {"score": Lanes(sint(p.score_width), p.lanes), "keep": uint(p.lanes), "last": flag}

    def output_fields(self, p: EdgeMoeSoftmaxParameters) -> Fields:
        return {"probability": Lanes(uint(p.fraction + 1), p.lanes), "last": flag}

    def component(self, p: EdgeMoeSoftmaxParameters, target: str = "generic") -> rtl.SoftmaxEdgeMoe:
        return rtl.SoftmaxEdgeMoe(lanes=p.lanes, score_width=p.score_width, target=target, **p.numbers)

    def golden(self, p: EdgeMoeSoftmaxParameters, beats: Beats) -> Beats:
        probability = golden.softmax_edge_moe(beats["score"], kept_lanes(p.lanes, beats), beats["last"], **p.numbers)
        return {"probability": probability, "last": cut_ends(p.max_beats, beats)}

    def hls_context(self, p: EdgeMoeSoftmaxParameters) -> Mapping[str, Any]:
        return {**p.numbers, "table": list(p.numbers["table"]), "lanes": p.lanes, "score_width": p.score_width,
                "table_bits": p.table_bits, "log2e": LOG2E, "total_width": p.total_width}

    def timing(self, p: EdgeMoeSoftmaxParameters) -> Timing:
        return Timing(int(self._schedule(p, np.ones(1, np.int64))[0]), note=(
            "of a frame of one beat; a longer frame's first result comes as long after its last beat. "
            f"Frames shorter than {p.fraction + 3} beats wait for the divisions"))

    def schedule(self, p: EdgeMoeSoftmaxParameters, beats: Beats) -> NDArray[np.int64]:
        return self._schedule(p, cut_ends(p.max_beats, beats))

    @staticmethod
    def _schedule(p: EdgeMoeSoftmaxParameters, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        fold = rtl.sums_latency(fraction=p.fraction, total_width=p.total_width)
        between = Pass(fold, (p.fraction + 1,), 2 * p.max_beats)
        return frame_schedule(ends, [rtl.FRONT_LATENCY, rtl.scale_latency(p.fraction)], [between])

    def stimulus(self, p: EdgeMoeSoftmaxParameters, rng: np.random.Generator, count: int) -> Beats:
        """The measured frames unless ``count`` is small, then :func:`tilewright.units.softmax.frames_of_scores`."""
        parts = [self._measured(p)] if count >= SHORT_BEATS else []
        left = count - sum(len(part["last"]) for part in parts)
        spread = round(SPREAD * (1 << p.fraction))
        return joined([*parts, frames_of_scores(sint(p.score_width), p.lanes, p.max_beats, rng, left, spread)])

    @staticmethod
    def _measured(p: EdgeMoeSoftmaxParameters) -> Beats:
        """The same frames whatever the seed of a proof: normal scores, an offset for each row, no lane left out."""
        rng = np.random.default_rng(MEASURED_SEED)
        lengths = [min(scores, p.max_beats // p.rows) for scores in MEASURED_SCORES]
        scores = [rng.normal(0, SPREAD, (length, p.rows, p.lanes)) + rng.normal(0, OFFSET, (p.rows, p.lanes))
                  for length in lengths]
        number = sint(p.score_width)
        codes = np.rint(np.concatenate(scores).reshape(-1, p.lanes) * (1 << p.fraction))
        score = np.clip(codes, number.low, number.high).astype(np.int64)
        return {"score": score, "keep": np.full(len(score), (1 << p.lanes) - 1, np.int64),
                "last": frame_ends([length * p.rows for length in lengths])}

    def error(self, p: EdgeMoeSoftmaxParameters) -> Error | None:
        figure = self.figures.get((p.fraction, p.table_bits, p.rows, p.lanes))
        if figure is None or p.max_beats // p.rows < max(MEASURED_SCORES):
            return None
        return self.measured_error(p, figure)

    def measured_error(self, p: EdgeMoeSoftmaxParameters, figure: float) -> Error:
        """Largest distance of a probability from the exact one of the same scores, row by row."""
        count = len(self._measured(p)["last"])

        def deviation(inputs: Beats, outputs: Beats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            scores, probability = (values[:count].reshape(-1, p.rows, p.lanes) / float(1 << p.fraction)
                                   for values in (inputs["score"], outputs["probability"]))
            places, errors = [], []
            for frame in frame_slices(inputs["last"][:count]):
                part = slice(frame.start // p.rows, frame.stop // p.rows)
                exact = np.exp(scores[part] - scores[part].max(axis=0))
                exact /= exact.sum(axis=0)
                places.append(exact.ravel())
                errors.append((probability[part] - exact).ravel())
            return np.concatenate(places), np.concatenate(errors)

        quantity = f"probability / 2^{p.fraction} - softmax(score / 2^{p.fraction})"
        return Error(figure, quantity, "exact probability", deviation)
