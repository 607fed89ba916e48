"""The sequencers: which operands are read in which cycle, and what becomes of the sums.

A sequencer takes one job at a time and walks its tiles. It steps when the operands are there and, on a
step that finishes sums, when the result path has room for them and the channels' parameters are loaded. Nothing
behind a sequencer ever stalls.
"""

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.delay import delayed

ROOM_LAG = 2  # cycles in which credits may be taken that `room` does not know of


def ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def pass_members() -> dict[str, wiring.Member]:
    """How a sequencer reads an operand buffer."""
    return {"available": In(1), "step": Out(1), "first_pass": Out(1), "last_pass": Out(1), "end_pass": Out(1)}


def result_layout(*, cols: int, channel_addresses: int) -> data.StructLayout:
    """A row of sums on its way: where its channel parameters are, how many lanes count, what it ends."""
    return data.StructLayout({
        "channel": Shape.cast(range(channel_addresses)), "bank": 1,
        "lanes": Shape.cast(range(cols + 1)), "last": 1})


def job_members(limits: tuple[int, int, int]) -> dict[str, wiring.Member]:
    m, n, k = limits
    return {"may_take": In(1), "m": In(range(m + 1)), "n": In(range(n + 1)), "k": In(range(k + 1)), "reuse": In(1),
            "takes": Out(1), "took": Out(1), "stepping": Out(1), "waits_for_input": Out(1), "waits_for_output": Out(1)}


def room_for(m: Module, credits: int, *, returned: Value, taken: Value, needed: int) -> Value:
    """High while ``needed`` of ``credits`` are left, as of ROOM_LAG cycles ago.

    ``returned`` and ``taken`` go through registers first: both are known late in their cycle.
    """
    left = Signal(range(credits + 1), init=credits)
    room = Signal(init=1)
    m.d.sync += [left.eq(left + delayed(m, returned, 1, "returned", reset=True) - delayed(m, taken, 1, "taken", reset=True)),
                 room.eq(left >= needed)]
    return room


class Remaining:
    """What is left of a dimension that is walked ``stride`` at a time.

    ``last`` is high in the last round, ``part`` is how much of the round counts.
    """

    def __init__(self, name: str, extent: int, stride: int) -> None:
        self.stride = stride
        self.total = Signal(range(extent + 1), name=f"{name}_total")
        self.left = Signal(range(extent + 1), name=f"{name}_left")
        self.last = Signal(name=f"{name}_last")
        self.part = Signal(range(stride + 1), name=f"{name}_part")

    def start(self, m: Module, total: Value) -> None:
        """Set up for ``total``."""
        m.d.sync += self.total.eq(total)
        self.restart(m, total)

    def restart(self, m: Module, total: Value | None = None) -> None:
        total = self.total if total is None else total
        fits = total <= self.stride
        m.d.sync += [self.left.eq(total), self.last.eq(fits), self.part.eq(Mux(fits, total, self.stride))]

    def advance(self, m: Module) -> None:
        """One round further; not behind the last."""
        left = self.left - self.stride
        fits = self.left <= 2 * self.stride
        m.d.sync += [self.left.eq(left), self.last.eq(fits), self.part.eq(Mux(fits, left, self.stride))]


class OutputStationarySequencer(wiring.Component):
    """Tiles of ``rows`` x ``cols`` results, K steps each, columns of tiles inside rows of tiles.

    Both operand buffers step together. ``rows_out`` (with ``rows_valid``) names the rows of a finished tile one
    after the other, beginning in the cycle behind its last step; ``done`` is high in that first cycle, ``first`` with
    a tile's first step. Last steps are at least ``rows`` cycles apart, because a column drains one sum a cycle.
    """

    def __init__(self, *, rows: int, cols: int, limits: tuple[int, int, int], credits: int) -> None:
        self.rows = rows
        self.cols = cols
        self.limits = limits
        self.credits = credits
        self.channel_groups = ceil_div(limits[1], cols)
        layout = result_layout(cols=cols, channel_addresses=2 * self.channel_groups)
        super().__init__(job_members(limits) | {
            **{f"act_{name}": member for name, member in pass_members().items()},
            **{f"weight_{name}": member for name, member in pass_members().items()},
            "channel_available": In(1), "channel_used": Out(1), "credit_returned": In(1),
            "first": Out(1), "done": Out(1), "rows_valid": Out(1), "rows_out": Out(layout)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left_m = Remaining("m", self.limits[0], self.rows)
        left_n = Remaining("n", self.limits[1], self.cols)
        left_k = Remaining("k", self.limits[2], 1)
        active = Signal()
        first_m = Signal()
        first_n = Signal()
        reuse = Signal()
        first_k = Signal()
        bank = Signal(init=1)
        group = Signal(range(self.channel_groups))
        step = Signal()
        finish = Signal()
        ready = Signal()
        may_finish = Signal()
        fresh_channels = first_m & ~reuse
        spaced, room = self._spacing(m, finish), self._room(m, finish, left_m.part)
        job_end = left_k.last & left_n.last & left_m.last

        # Whether a job starts is known early, in which cycle only with the step: the registers see
        # the one as data and the other as their enable.
        takes = self.may_take & (~active | job_end)
        m.d.comb += [
            self.takes.eq(takes), self.took.eq(takes & (step | ~active)),
            ready.eq(self.act_available & self.weight_available & (~left_k.last | ~fresh_channels | self.channel_available)),
            may_finish.eq(~left_k.last | (spaced & room)),
            step.eq(active & ready & may_finish), finish.eq(step & left_k.last),
            self.waits_for_input.eq(active & ~ready),
            self.waits_for_output.eq(active & ready & left_k.last & ~room),
            self.channel_used.eq(finish & fresh_channels), self.first.eq(first_k),
            self.stepping.eq(step), self.act_step.eq(step), self.act_first_pass.eq(first_n), self.act_last_pass.eq(left_n.last),
            self.act_end_pass.eq(left_k.last),
            self.weight_step.eq(step), self.weight_first_pass.eq(first_m & ~reuse),
            self.weight_last_pass.eq(left_m.last), self.weight_end_pass.eq(left_k.last & left_n.last)]

        with m.If(step | (takes & ~active)):
            m.d.sync += first_k.eq(takes | left_k.last)
            with m.If(takes):
                left_m.start(m, self.m)
                left_n.start(m, self.n)
                left_k.start(m, self.k)
                m.d.sync += [active.eq(1), first_m.eq(1), first_n.eq(1), reuse.eq(self.reuse), group.eq(0),
                             bank.eq(bank ^ ~self.reuse)]
            with m.Elif(left_k.last):
                left_k.restart(m)
                m.d.sync += active.eq(~job_end)
                with m.If(left_n.last):
                    left_n.restart(m)
                    left_m.advance(m)
                    m.d.sync += [first_m.eq(0), first_n.eq(1), group.eq(0)]
                with m.Else():
                    left_n.advance(m)
                    m.d.sync += [first_n.eq(0), group.eq(group + 1)]
            with m.Else():
                left_k.advance(m)
        self._name_rows(m, finish, left_m, left_n, bank, group)
        return m

    def _spacing(self, m: Module, finish: Value) -> Value:
        if self.rows == 1:
            return Signal(init=1, name="spaced")
        waiting = Signal(range(self.rows))
        spaced = Signal(init=1)
        with m.If(finish):
            m.d.sync += [waiting.eq(self.rows - 1), spaced.eq(0)]
        with m.Elif(~spaced):
            m.d.sync += [waiting.eq(waiting - 1), spaced.eq(waiting == 1)]
        return spaced

    def _room(self, m: Module, finish: Value, taken: Value) -> Value:
        """Whether a tile's rows fit, and those of the tiles that the register has not seen yet."""
        unseen = ROOM_LAG // self.rows
        return room_for(m, self.credits, returned=self.credit_returned, taken=Mux(finish, taken, 0),
                        needed=(1 + unseen) * self.rows)

    def _name_rows(self, m: Module, finish: Value, left_m: Remaining, left_n: Remaining, bank: Value,
                   group: Value) -> None:
        rows_left = Signal(range(self.rows + 1))
        ends_job = Signal()
        m.d.sync += self.done.eq(finish)
        with m.If(finish):
            m.d.sync += [
                rows_left.eq(left_m.part), self.rows_out.lanes.eq(left_n.part), self.rows_out.bank.eq(bank),
                self.rows_out.channel.eq(Mux(bank, self.channel_groups, 0) + group),
                self.rows_valid.eq(1), ends_job.eq(left_n.last & left_m.last)]
        with m.Elif(self.rows_valid):
            m.d.sync += [rows_left.eq(rows_left - 1), self.rows_valid.eq(rows_left != 1)]
        m.d.comb += self.rows_out.last.eq(ends_job & (rows_left == 1))
