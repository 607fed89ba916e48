"""Operand buffers: a memory per lane, filled from a stream, read in skewed order as often as needed."""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.rtl.delay import delayed
from tilewright.rtl.hierarchy import shared

READ_LATENCY = 2  # memory, its output register


class OperandLane(wiring.Component):
    """The memory of one lane.

    ``operand(t + 2)`` is the element at ``read_address(t)``, less the zero point that was at ``zero_point``
    when it was written; a ``gated`` operand is zero if ``read_valid(t)`` is low. ``next_address`` and ``next_valid``
    are the read port one cycle later: the next lane's.
    """

    def __init__(self, *, element: Shape, operand: Shape, depth: int, zero_point: bool, gated: bool) -> None:
        self.element = element
        self.operand_shape = operand
        self.depth = depth
        self.has_zero_point = zero_point
        self.gated = gated
        address = range(depth)
        members: dict[str, wiring.Member] = {
            "write_enable": In(1), "write_address": In(address), "write_data": In(element),
            "read_valid": In(1), "read_address": In(address),
            "next_valid": Out(1), "next_address": Out(address), "operand": Out(operand)}
        if zero_point:
            members["zero_point"] = In(element)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The sequencer never reads an address in the cycle it is written, so no bypass is asked for.
        m.submodules.memory = memory = Memory(shape=self.operand_shape, depth=self.depth, init=[],
                                              attrs={"no_rw_check": 1})
        write, read = memory.write_port(), memory.read_port()
        written: Value = self.write_data
        if self.has_zero_point:
            written = self.write_data - self.zero_point
        m.d.comb += [
            write.en.eq(self.write_enable), write.addr.eq(self.write_address), write.data.eq(written),
            read.en.eq(1), read.addr.eq(self.read_address)]
        # A register with nothing in front of it and no reset moves into the block RAM.
        fetched = Signal(self.operand_shape, reset_less=True)
        fetched_valid = Signal()
        m.d.sync += [self.next_valid.eq(self.read_valid), fetched.eq(read.data), fetched_valid.eq(self.next_valid)]
        m.d.comb += [self.next_address.eq(delayed(m, self.read_address, 1, "address")),
                     self.operand.eq(Mux(fetched_valid, fetched, 0) if self.gated else fetched)]
        return m


class Fill(wiring.Component):
    """Counts the beats of one matrix off a stream, and mends its frame.

    A matrix is ``wanted`` from when its ``inner`` and ``outer`` are known until ``take`` tells that it has begun:
    ``inner`` beats for every started ``stride`` of ``outer``, at the earliest in the cycle in which the matrix
    before ends. ``write`` is high with each beat. ``renew``, which is known earlier than ``take`` and may come
    several times before it, is high when what goes with the matrix is to be taken over. ``last`` early: the missing
    beats are written without the stream; ``last`` missing: what follows is swallowed up to it. Either pulses
    ``error``. No beat is taken while ``room`` is low.
    """

    def __init__(self, *, inner_max: int, outer_max: int, stride: int) -> None:
        self.inner_max = inner_max
        self.outer_max = outer_max
        self.stride = stride
        super().__init__({
            "wanted": In(1), "take": Out(1), "renew": Out(1), "inner": In(range(inner_max + 1)),
            "outer": In(range(outer_max + 1)), "room": In(1), "valid": In(1), "last": In(1), "ready": Out(1),
            "write": Out(1), "error": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        loading = Signal()
        phantom = Signal()
        swallowing = Signal()
        inner = Signal.like(self.inner)
        inner_left = Signal.like(self.inner)
        outer_left = Signal.like(self.outer)
        inner_last = Signal()
        outer_last = Signal()
        beat = Signal()
        final = Signal()
        idle = Signal()
        next_is_wanted = Signal()
        m.d.comb += [
            self.ready.eq((loading & ~phantom & self.room) | swallowing),
            self.write.eq(loading & self.room & (self.valid | phantom)),
            beat.eq(self.write & ~phantom), final.eq(inner_last & outer_last),
            self.error.eq(beat & (self.last != final)),
            idle.eq((~loading & ~swallowing) | (self.write & final & (phantom | self.last))),
            # The counters are free from the last beat on: they are set up for the next matrix while that is awaited.
            next_is_wanted.eq(self.wanted & (~loading | final)),
            self.renew.eq(next_is_wanted & (~loading | self.write)), self.take.eq(self.wanted & idle)]
        with m.If(next_is_wanted):
            m.d.sync += [inner.eq(self.inner), inner_left.eq(self.inner), outer_left.eq(self.outer)]
        with m.Elif(self.write):
            m.d.sync += inner_left.eq(inner_left - 1)
            with m.If(inner_last):
                m.d.sync += [inner_left.eq(inner), outer_left.eq(outer_left - self.stride)]
        with m.If(self.take):
            m.d.sync += [loading.eq(1), phantom.eq(0), inner_last.eq(self.inner == 1), outer_last.eq(self.outer <= self.stride)]
        with m.Elif(self.write):
            m.d.sync += inner_last.eq(inner_left == 2)
            with m.If(inner_last):
                m.d.sync += [inner_last.eq(inner == 1), outer_last.eq(outer_left <= 2 * self.stride)]
            with m.If(final):
                m.d.sync += [loading.eq(0), phantom.eq(0), swallowing.eq(beat & ~self.last)]
            with m.Elif(beat & self.last):
                m.d.sync += phantom.eq(1)
        with m.Elif(swallowing & self.valid & self.last):
            m.d.sync += swallowing.eq(0)
        return m


class OperandBuffer(wiring.Component):
    """The lanes of one operand, the stream that fills them and the address that walks them.

    A pass reads a window of beats once. In a window's first pass the reader may follow right behind the
    stream: ``available`` says whether the next beat is there. ``step`` reads it; with it come
    ``first_pass``, ``last_pass`` (its beats are free afterwards) and ``end_pass`` (the window starts
    again, or behind a last pass the next window starts).

    A ``resident`` buffer has two banks of one job's matrix each. When the reader turns to a new job it says so
    with ``turn``; ``turning`` may be high before, as soon as its next step will be the last of its job or it has
    none, and ``switch`` with it if the new job has its own matrix, in the other bank. Behind a switch, no matrix is
    taken for as many cycles as there are lanes, so that the skewed reads of the bank that was left come to
    their end. Otherwise the memory is a ring. ``wanted`` and ``take`` are those of :class:`Fill`.

    ``operands`` holds lane 0 in its low bits: READ_LATENCY cycles behind ``step``, lane i another i
    cycles. Where there was no step ``gated`` operands are zero, others are anything.
    """

    def __init__(self, *, lanes: int, element: Shape, operand: Shape, zero_point: bool, resident: bool,
                 window_max: int, inner_max: int, outer_max: int, stride: int, gated: bool, name: str) -> None:
        self.lanes = lanes
        self.element = element
        self.operand_shape = operand
        self.has_zero_point = zero_point
        self.resident = resident
        self.window_max = window_max
        self.inner_max = inner_max
        self.outer_max = outer_max
        self.stride = stride
        self.gated = gated
        self.lane_name = f"{name}_lane"
        # A ring that holds less than a window and the reads under way would stall its own reader.
        self.depth = 2 * window_max if resident else max(2 * window_max, window_max + lanes + 8)
        beat = data.StructLayout({"data": data.ArrayLayout(element, lanes), "last": 1})
        members: dict[str, wiring.Member] = {
            "beats": In(stream.Signature(beat)), "wanted": In(1), "take": Out(1), "inner": In(range(inner_max + 1)),
            "outer": In(range(outer_max + 1)), "error": Out(1),
            "available": Out(1), "step": In(1), "first_pass": In(1), "last_pass": In(1), "end_pass": In(1),
            "operands": Out(lanes * operand.width)}
        if resident:
            members |= {"turning": In(1), "turn": In(1), "switch": In(1)}
        if zero_point:
            members["zero_point"] = In(element)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fill = fill = Fill(inner_max=self.inner_max, outer_max=self.outer_max, stride=self.stride)
        m.d.comb += [
            self.take.eq(fill.take), fill.inner.eq(self.inner), fill.outer.eq(self.outer),
            fill.valid.eq(self.beats.valid), fill.last.eq(self.beats.payload.last),
            self.beats.ready.eq(fill.ready), self.error.eq(fill.error)]
        write_address = Signal(range(self.depth))
        read_address = Signal(range(self.depth))
        self._count_fresh(m, fill.write)
        if self.resident:
            self._two_banks(m, fill, write_address, read_address)
        else:
            self._ring(m, fill, write_address, read_address)
        self._lanes(m, fill, write_address, read_address)
        return m

    def _count_fresh(self, m: Module, write: Value) -> None:
        """Whether a first pass finds a beat. Two counters that only count up have no adder behind the late ``write``."""
        written = Signal(range(self.depth + 1))
        following = Signal.like(written, init=1)  # the count of those used, and one
        some = Signal()
        use = self.step & self.first_pass
        with m.If(write):
            m.d.sync += [written.eq(written + 1), some.eq(1)]
        with m.Elif(use):
            m.d.sync += some.eq(following != written)
        with m.If(use):
            m.d.sync += following.eq(following + 1)
        m.d.comb += self.available.eq(some | ~self.first_pass)

    def _two_banks(self, m: Module, fill: Fill, write_address: Signal, read_address: Signal) -> None:
        next_bank = Signal()
        cooling = Signal(range(self.lanes + 1))
        cold = Signal(init=1)  # cooling is 0

        def start(of_bank: Value) -> Value:
            return Mux(of_bank, Const(self.window_max, len(read_address)), 0)

        m.d.comb += [fill.room.eq(1), fill.wanted.eq(self.wanted & cold)]
        with m.If(self.turn & self.switch):
            m.d.sync += [cooling.eq(self.lanes), cold.eq(0)]
        with m.Elif(~cold):
            m.d.sync += [cooling.eq(cooling - 1), cold.eq(cooling == 1)]
        filling = Signal(init=1)  # so that the first job fills and reads bank 0
        with m.If(self.take):
            m.d.sync += filling.eq(~filling)
        with m.If(fill.renew):
            m.d.sync += write_address.eq(start(~filling))
        with m.Elif(fill.write):
            m.d.sync += write_address.eq(write_address + 1)
        in_use = Signal(init=1)
        m.d.comb += next_bank.eq(in_use ^ (self.turning & self.switch))
        with m.If(self.turn):
            m.d.sync += in_use.eq(next_bank)
        with m.If(self.step | self.turn):
            with m.If(self.turning | self.end_pass):
                m.d.sync += read_address.eq(start(next_bank))
            with m.Else():
                m.d.sync += read_address.eq(read_address + 1)

    def _ring(self, m: Module, fill: Fill, write_address: Signal, read_address: Signal) -> None:
        def following(address: Signal) -> Value:
            return Mux(address == self.depth - 1, 0, address + 1)

        window = Signal.like(read_address)
        with m.If(fill.write):
            m.d.sync += write_address.eq(following(write_address))
        with m.If(self.step):
            m.d.sync += read_address.eq(Mux(self.end_pass & ~self.last_pass, window, following(read_address)))
            with m.If(self.end_pass & self.last_pass):
                m.d.sync += window.eq(following(read_address))
        # A beat is free when the last lane has read it too.
        freed = delayed(m, self.step & self.last_pass, self.lanes, "freed", reset=True)
        held = Signal(range(self.depth + 1))
        full = Signal()
        m.d.comb += [fill.room.eq(~full), fill.wanted.eq(self.wanted)]
        m.d.sync += held.eq(held + fill.write - freed)
        with m.If(fill.write & ~freed):
            m.d.sync += full.eq(held == self.depth - 1)
        with m.Elif(freed & ~fill.write):
            m.d.sync += full.eq(0)

    def _lanes(self, m: Module, fill: Fill, write_address: Value, read_address: Value) -> None:
        valid: Value = self.step
        address: Value = read_address
        operands = []

        def make_lane() -> OperandLane:
            return OperandLane(element=self.element, operand=self.operand_shape, depth=self.depth,
                               zero_point=self.has_zero_point, gated=self.gated)

        written: dict[str, Value] = {"enable": fill.write, "address": write_address}
        if self.has_zero_point:
            zero_point = Signal(self.element)
            with m.If(fill.renew):
                m.d.sync += zero_point.eq(self.zero_point)
            written["zero_point"] = zero_point
        # Lane 0 may read a beat in the cycle behind its arrival, the others later, so their writes have a cycle to travel.
        travelled = {name: delayed(m, value, 1, f"written_{name}", reset=name == "enable")
                     for name, value in written.items()}
        for i in range(self.lanes):
            lane = shared(make_lane, self.lane_name)
            m.submodules[f"lane_{i}"] = lane
            element, at = self.beats.payload.data[i], written
            if i:
                element, at = delayed(m, element, 1, f"beat_{i}"), travelled
            m.d.comb += [
                lane.write_enable.eq(at["enable"]), lane.write_address.eq(at["address"]), lane.write_data.eq(element),
                lane.read_valid.eq(valid), lane.read_address.eq(address)]
            if self.has_zero_point:
                m.d.comb += lane.zero_point.eq(at["zero_point"])
            operands.append(lane.operand)
            valid, address = lane.next_valid, lane.next_address
        m.d.comb += self.operands.eq(Cat(*operands))
