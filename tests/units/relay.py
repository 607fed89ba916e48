"""A unit that passes beats on, and can be told to break any rule of a stream: what proofs must notice."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, ClassVar

import numpy as np
from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from tilewright.units.base import Elementwise, Error, Parameters, Timing
from tilewright.units.fields import Beats, Fields, uint
from tilewright.units.stimulus import random_values

PLACE = 20  # the beat at which a fault shows
LATER = 20  # cycles after the last beat


class Fault(IntEnum):
    NONE = 0
    WRONG_VALUE = 1
    LOST = 2
    REPEATED = 3
    CHANGES_WHILE_WAITING = 4
    WITHDRAWN_WHILE_WAITING = 5
    EXTRA_LATER = 6
    FOLLOWS_READY = 7
    FOLLOWS_VALID = 8
    HANGS = 9
    ONE_CYCLE_LATE = 10
    SURVIVES_RESET = 11
    TAKES_NOISE = 12


class FaultyRelay(wiring.Component):
    """Beats from a register, one cycle late, with the fault that the beats ask for, or with one that is built in."""

    def __init__(self, built_in: Fault | None = None) -> None:
        self.built_in = built_in
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"x": 40, "fault": 4}))),
            "o": Out(stream.Signature(data.StructLayout({"x": 40})))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        full, kept = Signal(), Signal(reset_less=True)
        x = Signal(40, reset_less=True)
        fault = Signal(4, reset_less=True)
        place, quiet, again, rest = Signal(16), Signal(8), Signal(), Signal()

        def has(kind: Fault) -> Any:
            return fault == kind if self.built_in is None else Const(self.built_in == kind)

        free, here, taken = Signal(), Signal(), Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            here.eq(place == PLACE),
            taken.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(free & ~again & ~(has(Fault.HANGS) & here) & ~(has(Fault.ONE_CYCLE_LATE) & here & ~rest)),
            self.o.valid.eq(Mux(has(Fault.SURVIVES_RESET), kept, full) & ~(has(Fault.FOLLOWS_VALID) & ~self.i.valid)),
            self.o.payload.x.eq(x ^ (has(Fault.FOLLOWS_READY) & ~self.o.ready)),
        ]
        m.d.sync += [rest.eq(here), quiet.eq(quiet + 1)]
        with m.If(free):
            m.d.sync += [full.eq(0), kept.eq(0)]
        with m.If(again & free):
            m.d.sync += [again.eq(0), full.eq(1), kept.eq(1)]
        with m.If(taken):
            m.d.sync += [
                x.eq(self.i.payload.x ^ (has(Fault.WRONG_VALUE) & here)), fault.eq(self.i.payload.fault),
                full.eq(~(has(Fault.LOST) & here)), kept.eq(1), place.eq(place + 1), quiet.eq(0),
                again.eq(has(Fault.REPEATED) & here)]
        with m.If(has(Fault.TAKES_NOISE) & (place >= PLACE) & self.i.ready & ~self.i.valid):
            m.d.sync += [x.eq(self.i.payload.x), full.eq(1)]
        with m.If(self.o.valid & ~self.o.ready):
            with m.If(has(Fault.CHANGES_WHILE_WAITING)):
                m.d.sync += x.eq(x + 1)
            with m.If(has(Fault.WITHDRAWN_WHILE_WAITING)):
                m.d.sync += full.eq(0)
        with m.If(has(Fault.EXTRA_LATER) & (quiet == LATER)):
            m.d.sync += full.eq(1)
        return m


class RelayParameters(Parameters):
    """Which fault the stimulus asks for."""

    fault: int = int(Fault.NONE)


HLS = """\
#ifndef RELAY_H
#define RELAY_H
#include "relay_types.h"

inline void relay(hls::stream<relay_in>& i, hls::stream<relay_out>& o) {
    static int place = 0;
    relay_out beat;
{% if fault != 9 %}
    const relay_in taken = i.read();
    beat.x = taken.x;
{% endif %}
    const bool here = place++ == 20;
    if (here && {{ fault }} == 1) beat.x = beat.x + 1;
    if (!(here && {{ fault }} == 2)) o.write(beat);
    if (here && {{ fault }} == 3) o.write(beat);
    if (i.empty() && {{ fault }} == 6) o.write(beat);
}

#endif
"""


class Relay(Elementwise[RelayParameters]):
    """Passes beats on."""

    name = "relay"
    title = "a register, or a fault"
    source = "none"
    parameters_type = RelayParameters
    claimed: ClassVar[float] = 0.0

    def input_fields(self, p: RelayParameters) -> Fields:
        return {"x": uint(40), "fault": uint(4)}

    def output_fields(self, p: RelayParameters) -> Fields:
        return {"x": uint(40)}

    def component(self, p: RelayParameters, target: str = "generic") -> FaultyRelay:
        return FaultyRelay(Fault.NONE) if p.fault == Fault.NONE else FaultyRelay()

    def golden(self, p: RelayParameters, beats: Beats) -> Beats:
        return {"x": beats["x"]}

    def hls_context(self, p: RelayParameters) -> Mapping[str, Any]:
        return {"fault": p.fault}

    def hls_template(self) -> str:
        return HLS

    def timing(self, p: RelayParameters) -> Timing:
        return Timing(1)

    def stimulus(self, p: RelayParameters, rng: np.random.Generator, count: int) -> Beats:
        return {"x": random_values(uint(40), rng, count), "fault": np.full(count, p.fault, np.int64)}

    def error(self, p: RelayParameters) -> Error:
        return Error(self.claimed, "x - 1", "x", lambda beats, results: (
            beats["x"].astype(float), np.ones(len(beats["x"]))))
