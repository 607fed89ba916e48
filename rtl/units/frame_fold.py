"""What a whole frame comes to - a maximum, sums - found while its beats pass by."""

from abc import abstractmethod
from collections.abc import Mapping

from amaranth.hdl import Const, Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.units.pipeline import Stages


class FrameFold(wiring.Component):
    """Beats pass in the same cycle; a token with what they come to is offered ``latency`` cycles after the last one.

    1 beat per cycle. The last beat of a frame waits until the token of the frame before was taken, so that the fold itself
    never stalls. ``i.ready`` depends on registers, ``o.ready`` and the beat at hand, not on ``i.valid``.

    Parameters
    ----------
    item, folded, token : Mapping[str, ShapeLike]
        Fields that pass on, fields of a beat that are folded and end here, fields of the token.
    latency : int
        At least 2.

    Members
    -------
    i : In(stream.Signature(StructLayout(item, folded, last)))
    o : Out(stream.Signature(StructLayout(item, last)))
    token : Out(stream.Signature(StructLayout(token)))
    """

    def __init__(
        self, *, item: Mapping[str, ShapeLike], folded: Mapping[str, ShapeLike], token: Mapping[str, ShapeLike], latency: int
    ) -> None:
        self.item = dict(item)
        self.folded = dict(folded)
        self.latency = latency
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({**item, **folded, "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({**item, "last": 1}))),
            "token": Out(stream.Signature(data.StructLayout(dict(token)))),
        })

    @abstractmethod
    def fold(self, m: Module, stages: Stages, go: Value, fresh: Value) -> Mapping[str, Value]:
        """The token's fields ``latency - 1`` cycles after the last beat.

        ``stages`` advance in every cycle; a beat counts where ``go`` is 1; ``fresh`` marks the first of a frame.
        """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i = self.i.payload
        pending, passes, go, fresh = Signal(), Signal(), Signal(), Signal(init=1)
        m.d.comb += [
            passes.eq(~(i.last & pending)),
            self.o.valid.eq(self.i.valid & passes),
            self.i.ready.eq(self.o.ready & passes),
            go.eq(self.i.valid & self.i.ready),
        ]
        m.d.comb += [self.o.payload[name].eq(i[name]) for name in (*self.item, "last")]
        finished = go & i.last
        for cycle in range(1, self.latency):
            finished = registered_flag(m, finished, f"finished_{cycle}")
        with m.If(self.token.valid & self.token.ready):
            m.d.sync += [pending.eq(0), self.token.valid.eq(0)]
        with m.If(go):
            m.d.sync += fresh.eq(i.last)
        with m.If(go & i.last):
            m.d.sync += pending.eq(1)
        values = self.fold(m, Stages(m, Const(1)), go, fresh)
        with m.If(finished):
            m.d.sync += self.token.valid.eq(1)
            m.d.sync += [self.token.payload[name].eq(value) for name, value in values.items()]
        return m


def registered_flag(m: Module, value: Value, name: str) -> Signal:
    """``value`` a cycle later, 0 after a reset."""
    flag = Signal(name=name)
    m.d.sync += flag.eq(value)
    return flag


class FrameMaximum(FrameFold):
    """The greatest ``value`` of a frame as the token's ``maximum``; latency 2 cycles."""

    LATENCY = 2

    def __init__(self, *, item: Mapping[str, ShapeLike], value: ShapeLike) -> None:
        super().__init__(item=item, folded={"value": value}, token={"maximum": value}, latency=self.LATENCY)

    def fold(self, m: Module, stages: Stages, go: Value, fresh: Value) -> Mapping[str, Value]:
        value = self.i.payload.value
        maximum = Signal(value.shape(), reset_less=True)
        with m.If(go & (fresh | (maximum < value))):
            m.d.sync += maximum.eq(value)
        return {"maximum": maximum}


class FrameSum(FrameFold):
    """The sum of each folded field over a frame, in a token field of the same name and its own width; latency 2 cycles.

    Parameters
    ----------
    item : Mapping[str, ShapeLike]
    values, sums : Mapping[str, ShapeLike]
        Shapes of the fields in a beat and in the token.
    """

    LATENCY = 2

    def __init__(
        self, *, item: Mapping[str, ShapeLike], values: Mapping[str, ShapeLike], sums: Mapping[str, ShapeLike]
    ) -> None:
        super().__init__(item=item, folded=values, token=sums, latency=self.LATENCY)

    def fold(self, m: Module, stages: Stages, go: Value, fresh: Value) -> Mapping[str, Value]:
        totals = {}
        for name in self.folded:
            total = totals[name] = Signal(
                Shape.cast(self.token.payload.shape().members[name]), name=name, reset_less=True)
            with m.If(go):
                m.d.sync += total.eq(Mux(fresh, 0, total) + self.i.payload[name])
        return totals
