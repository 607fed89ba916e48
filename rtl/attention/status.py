"""What an attention engine tells beside its results: the end of a job, errors, counted events."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Module, Signal, Value
from tilewright.rtl.attention.engine import ERRORS


def report(m: Module, engine: Any, *, accepted: Value, refused: Value, frames: Mapping[str, Value], active: Value,
           waits: Value) -> None:
    """Drive ``done``, ``error`` and the counters of ``engine``, whose ``busy`` is driven.

    ``error`` keeps the last code until a job is ``accepted``: of one that is ``refused``, or of the stream in ``frames`` whose
    frame was wrong. The counters run while ``busy`` is high and start anew when it rises: busy cycles; ``active`` ones; those
    in which an input ``waits``; those in which a result was not taken.
    """
    result = engine.result
    m.d.comb += engine.done.eq(result.valid & result.ready & result.payload.last)
    with m.If(accepted):
        m.d.sync += engine.error.eq(0)
    for name, wrong in frames.items():
        with m.If(wrong):
            m.d.sync += engine.error.eq(ERRORS[f"{name}_frame"])
    with m.If(refused):
        m.d.sync += engine.error.eq(ERRORS["illegal_shape"])
    before = Signal()  # busy in the cycle before
    m.d.sync += before.eq(engine.busy)
    counted = {"counter_cycles": engine.busy, "counter_active": active, "counter_input_stall": waits,
               "counter_output_stall": result.valid & ~result.ready}
    for name, counts in counted.items():
        counter = getattr(engine, name)
        with m.If(engine.busy & ~before):
            m.d.sync += counter.eq(counts)
        with m.Elif(engine.busy & counts):
            m.d.sync += counter.eq(counter + 1)
