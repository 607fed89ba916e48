"""Parameters of the output channels: their format, and the loader that spreads them over the lanes."""

from amaranth.hdl import Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.delay import delayed
from tilewright.rtl.requantize import prescale
from tilewright.rtl.shift_round import COARSE_BITS, PRESCALE

BIAS_WIDTH = 32
SHIFT_WIDTH = 6


def channel_layout(*, out: Shape, multiplier_bits: int, clip: bool) -> data.StructLayout:
    """What one output channel is requantized with; ``low`` and ``high`` only where they are run-time values."""
    fields: dict[str, Shape] = {
        "bias": signed(BIAS_WIDTH), "multiplier": unsigned(multiplier_bits), "shift": unsigned(SHIFT_WIDTH),
        "zero_point": signed(out.width + 1)}
    if clip:
        fields |= {"low": out, "high": out}
    return data.StructLayout(fields)


def stored_layout(channel: data.StructLayout) -> data.StructLayout:
    """A channel's parameters as the lanes keep them: multiplier and shift prescaled (see ``Requantize``)."""
    fields = dict(channel.members)
    return data.StructLayout(fields | {
        "multiplier": unsigned(Shape.cast(fields["multiplier"]).width + PRESCALE), "shift": unsigned(COARSE_BITS)})


class ChannelLoader(wiring.Component):
    """Takes one beat per channel off a stream and writes it to the lane and address where it is used.

    ``count`` channels are ``wanted`` until ``take`` tells that they begin, in the bank not filled last, when the
    results that use that bank have left: ``opened`` and ``closed`` bracket a job's use of a bank. Channel i goes to lane
    i mod ``lanes``, address i // ``lanes`` of the bank. ``available`` is high while there is a complete group of
    ``lanes`` channels (or the rest of them) that was not ``used`` yet. A parameter is
    written one cycle behind its beat, which is still long before a row needs it.
    """

    def __init__(self, *, lanes: int, channels_max: int, groups: int, jobs_max: int,
                 layout: data.StructLayout) -> None:
        self.lanes = lanes
        self.channels_max = channels_max
        self.groups = groups
        self.jobs_max = jobs_max
        self.layout = layout
        super().__init__({
            "beats": In(stream.Signature(layout)), "wanted": In(1), "take": Out(1), "count": In(range(channels_max + 1)),
            "available": Out(1), "used": In(1),
            "opened": In(1), "opened_bank": In(1), "closed": In(1), "closed_bank": In(1),
            "write": Out(lanes), "write_address": Out(range(2 * groups)), "write_data": Out(stored_layout(layout))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        loading = Signal()
        bank = Signal(init=1)
        left = Signal.like(self.count)
        final = Signal()
        lane_select = Signal(self.lanes, init=1)
        complete = Signal()
        address = Signal.like(self.write_address)
        m.d.sync += [*self._prescaled(), self.write_address.eq(address),
                     self.write.eq(Mux(loading & self.beats.valid, lane_select, 0))]
        m.d.comb += [
            self.beats.ready.eq(loading),
            complete.eq(loading & self.beats.valid & (lane_select[-1] | final))]
        last_beat = loading & self.beats.valid & final
        # The counters are free from the last beat on; the address serves that beat, too.
        next_is_wanted = self.wanted & (~loading | final)
        with m.If(next_is_wanted):
            m.d.sync += left.eq(self.count)
        with m.Elif(loading & self.beats.valid):
            m.d.sync += left.eq(left - 1)
        with m.If(next_is_wanted & (~loading | self.beats.valid)):
            m.d.sync += address.eq(Mux(bank, 0, self.groups))
        with m.Elif(loading & self.beats.valid):
            m.d.sync += address.eq(address + lane_select[-1])
        with m.If(loading & self.beats.valid):
            m.d.sync += lane_select.eq(Mux(final, 1, lane_select.rotate_left(1)))
        with m.If(self.take):
            m.d.sync += [loading.eq(1), bank.eq(~bank), final.eq(self.count == 1)]
        with m.Elif(loading & self.beats.valid):
            m.d.sync += [loading.eq(~final), final.eq(left == 2)]
        self._count_groups(m, complete)
        m.d.comb += self.take.eq(self.wanted & (~loading | last_beat) & self._other_bank_is_free(m, bank))
        return m

    def _prescaled(self) -> list[object]:
        beat = self.beats.payload
        multiplier, shift = prescale(beat.multiplier, beat.shift)
        fields = {name: beat[name] for name in self.layout.members} | {"multiplier": multiplier, "shift": shift}
        return [self.write_data[name].eq(value) for name, value in fields.items()]

    def _count_groups(self, m: Module, complete: Signal) -> None:
        fresh = Signal(range(self.groups * 2 + 1))
        m.d.sync += fresh.eq(fresh + complete - self.used)
        with m.If(complete):
            m.d.sync += self.available.eq(1)
        with m.Elif(self.used):
            m.d.sync += self.available.eq(fresh != 1)

    def _other_bank_is_free(self, m: Module, bank: Signal) -> Value:
        users = [Signal(range(self.jobs_max + 1), name=f"users_{i}") for i in range(2)]
        # A job is accepted late in its cycle; whoever is offered next asks two cycles later.
        opened = delayed(m, self.opened, 1, "opened", reset=True)
        opened_bank = delayed(m, self.opened_bank, 1, "opened_bank")
        for i, count in enumerate(users):
            m.d.sync += count.eq(count + (opened & (opened_bank == i)) - (self.closed & (self.closed_bank == i)))
        return Mux(bank, users[0] == 0, users[1] == 0)
