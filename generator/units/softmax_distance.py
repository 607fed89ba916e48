"""What the softmax units have in common that take exponentials of distances below a reference."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
from amaranth.utils import ceil_log2
from tilewright.sim.golden.units import softmax_maximum as golden
from tilewright.units import softmax, tables
from tilewright.units.base import Error, Unit
from tilewright.units.fields import Beats, Fields
from tilewright.units.softmax import FixedPointSoftmaxParameters

D = TypeVar("D", bound=FixedPointSoftmaxParameters)


def frame_total_width(p: FixedPointSoftmaxParameters) -> int:
    """Bits of the sum of a frame's exponentials, each at most 1."""
    return p.mantissa_bits + p.guard_bits + 1 + ceil_log2(p.lanes * p.max_beats)


class DistanceSoftmax(Unit[D]):
    """Softmax of a stream of frames; ``figures`` are errors by the parameters that decide them."""

    figures: ClassVar[Mapping[tuple[object, ...], float]]

    def input_fields(self, p: D) -> Fields:
        return softmax.softmax_inputs(p)

    def output_fields(self, p: D) -> Fields:
        return softmax.softmax_outputs(p)

    def numbers(self, p: D) -> dict[str, Any]:
        """What the RTL and the golden model share."""
        return {"fraction": p.fraction, "mantissa_bits": p.mantissa_bits, "guard_bits": p.guard_bits, "out_bits": p.out_bits,
                "max_beats": p.max_beats, "table": tables.exp2_falling(p.mantissa_bits, p.table_bits)}

    def precision(self, p: D) -> tuple[object, ...]:
        """What the error depends on."""
        return p.precision

    def hls_context(self, p: D) -> Mapping[str, Any]:
        return {
            **self.numbers(p), "lanes": p.lanes, "score_width": p.score_width, "table_bits": p.table_bits,
            "table": list(tables.exp2_falling(p.mantissa_bits, p.table_bits)), "log2e": golden.LOG2E,
            "lowest": -(1 << p.score_width - 1), "total_width": frame_total_width(p),
            "start": 1 << p.mantissa_bits + p.guard_bits, "drop": p.mantissa_bits + 16 - p.out_bits,
            "highest": (1 << p.out_bits) - 1,
        }

    def stimulus(self, p: D, rng: np.random.Generator, count: int) -> Beats:
        return softmax.softmax_stimulus(p, rng, count, p.fraction)

    def error(self, p: D) -> Error | None:
        figure = self.figures.get(self.precision(p)) if softmax.is_measurable(p) else None
        return None if figure is None else softmax.softmax_error(p, p.fraction, figure)
