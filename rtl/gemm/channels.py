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

    ``take`` starts ``count`` channels, in the bank not filled last. Channel i goes to lane
    i mod ``lanes``, address i // ``lanes`` of the bank. ``available`` is high while there is a complete group of
    ``lanes`` channels (or the rest of them) that was not ``used`` yet. ``idle`` waits until the results
    that use the other bank have left: ``opened`` and ``closed`` bracket a job's use of a bank. A parameter is
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
            "beats": In(stream.Signature(layout)), "take": In(1), "count": In(range(channels_max + 1)),
            "idle": Out(1), "available": Out(1), "used": In(1),
            "opened": In(1), "opened_bank": In(1), "closed": In(1), "closed_bank": In(1),
            "write": Out(lanes), "write_address": Out(range(2 * groups)), "write_data": Out(stored_layout(layout))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        loading, bank = Signal(), Signal(init=1)
        left, final = Signal.like(self.count), Signal()
        lane_select = Signal(self.lanes, init=1)
        complete = Signal()
        address = Signal.like(self.write_address)
        m.d.sync += [*self._prescaled(), self.write_address.eq(address),
                     self.write.eq(Mux(loading & self.beats.valid, lane_select, 0))]
        m.d.comb += [
            self.beats.ready.eq(loading),
            complete.eq(loading & self.beats.valid & (lane_select[-1] | final))]
        with m.If(self.take):
            m.d.sync += [loading.eq(1), bank.eq(~bank), left.eq(self.count), final.eq(self.count == 1), lane_select.eq(1),
                         address.eq(Mux(bank, 0, self.groups))]
        with m.Elif(loading & self.beats.valid):
            m.d.sync += [left.eq(left - 1), final.eq(left == 2), loading.eq(~final),
                         lane_select.eq(lane_select.rotate_left(1)),
                         address.eq(address + lane_select[-1])]
        self._count_groups(m, complete)
        self._count_jobs(m, ~loading | (self.beats.valid & final), bank)
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

    def _count_jobs(self, m: Module, loaded: Value, bank: Signal) -> None:
        users = [Signal(range(self.jobs_max + 1), name=f"users_{i}") for i in range(2)]
        # A job is accepted late in its cycle; whoever is offered next asks two cycles later.
        opened = delayed(m, self.opened, 1, "opened", reset=True)
        opened_bank = delayed(m, self.opened_bank, 1, "opened_bank")
        for i, count in enumerate(users):
            m.d.sync += count.eq(count + (opened & (opened_bank == i)) - (self.closed & (self.closed_bank == i)))
        m.d.comb += self.idle.eq(loaded & (Mux(bank, users[0], users[1]) == 0))
