"""The sequencer of the weight- and input-stationary arrays."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.gemm.accumulator import ACCUMULATE_INTERVAL
from tilewright.rtl.gemm.sequencer import (
    ROOM_LAG,
    Remaining,
    ceil_div,
    job_members,
    pass_members,
    result_layout,
    room_for,
)


class StationarySequencer(wiring.Component):
    """Tiles of ``rows`` (of K) x ``cols`` held operands; the other operand moves through each of them.

    Weight-stationary: the weights are held, columns are channels n, the vectors that move are the rows
    m of the activations. Input-stationary (``held_is_act``): columns are rows m of the activations,
    the vectors that move are the channels n of the weights. K tiles lie inside column tiles.

    The pusher fills the shadow (``held_step``, ``push``, ``push_last``) while the stepper moves the vectors of the
    tile before (``moving_step``); ``swap`` comes with the first of a tile. A tile takes as many cycles as it
    has vectors, and at least ``rows`` and ACCUMULATE_INTERVAL. With each step come ``sum_address``, ``sum_first``
    and ``sum_last`` for the accumulators; ``rows_valid`` and ``rows_out`` name a result, for the last K tile.
    """

    def __init__(self, *, rows: int, cols: int, limits: tuple[int, int, int], credits: int,
                 held_is_act: bool) -> None:
        self.rows = rows
        self.cols = cols
        self.limits = limits
        self.credits = credits
        self.held_is_act = held_is_act
        limit_m, limit_n, _ = limits
        self.columns_max, self.vectors_max = (limit_m, limit_n) if held_is_act else (limit_n, limit_m)
        self.channel_groups = limit_n if held_is_act else ceil_div(limit_n, cols)
        layout = result_layout(cols=cols, channel_addresses=2 * self.channel_groups)
        super().__init__(job_members(limits) | {
            **{f"moving_{name}": member for name, member in pass_members().items()},
            **{f"held_{name}": member for name, member in pass_members().items()},
            "push_may_take": In(1), "push_takes": Out(1), "push_took": Out(1),
            "push": Out(1), "push_last": Out(1), "swap": Out(1),
            "channel_available": In(1), "channel_used": Out(1), "credit_returned": In(1),
            "sum_valid": Out(1), "sum_address": Out(range(self.vectors_max)), "sum_first": Out(1),
            "sum_last": Out(1), "rows_valid": Out(1), "rows_out": Out(layout)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shadow_full = Signal()
        self._push(m, shadow_full)
        self._move(m, shadow_full)
        with m.If(self.push_last):
            m.d.sync += shadow_full.eq(1)
        with m.Elif(self.swap):
            m.d.sync += shadow_full.eq(0)
        return m

    def _push(self, m: Module, shadow_full: Value) -> None:
        columns = self.m if self.held_is_act else self.n
        left_columns = Remaining("push_columns", self.columns_max, self.cols)
        left_k = Remaining("push_k", self.limits[2], self.rows)
        row = Remaining("push_row", self.rows, 1)
        active, reuse, real = Signal(name="push_active"), Signal(name="push_reuse"), Signal(name="push_real")
        real_left = Signal(range(self.rows + 1))
        job_end = row.last & left_k.last & left_columns.last
        takes = self.push_may_take & (~active | job_end)
        m.d.comb += [
            self.push_takes.eq(takes), self.push_took.eq(takes & (self.push | ~active)),
            real.eq(real_left != 0),
            self.push.eq(active & (~shadow_full | self.swap) & (~real | self.held_available)),
            self.push_last.eq(self.push & row.last),
            self.held_step.eq(self.push & real), self.held_first_pass.eq(~reuse), self.held_last_pass.eq(1)]

        def begin_tile(rows_that_count: Value) -> None:
            row.restart(m, self.rows)
            m.d.sync += real_left.eq(rows_that_count)

        with m.If(self.push | (takes & ~active)):
            with m.If(takes):
                left_columns.start(m, columns)
                left_k.start(m, self.k)
                begin_tile(Mux(self.k <= self.rows, self.k, self.rows))
                m.d.sync += [active.eq(1), reuse.eq(0 if self.held_is_act else self.reuse)]
            with m.Elif(row.last):
                m.d.sync += active.eq(~job_end)
                with m.If(left_k.last):
                    left_k.restart(m)
                    left_columns.advance(m)
                    begin_tile(Mux(left_k.total <= self.rows, left_k.total, self.rows))
                with m.Else():
                    left_k.advance(m)
                    begin_tile(Mux(left_k.left <= 2 * self.rows, left_k.left - self.rows, self.rows))
            with m.Else():
                row.advance(m)
                m.d.sync += real_left.eq(real_left - real)

    def _move(self, m: Module, shadow_full: Value) -> None:
        columns, vectors = (self.m, self.n) if self.held_is_act else (self.n, self.m)
        left_columns = Remaining("columns", self.columns_max, self.cols)
        left_k = Remaining("k", self.limits[2], self.rows)
        left = Remaining("vectors", self.vectors_max, 1)
        active = Signal()
        reuse = Signal()
        first_columns = Signal()
        first_k = Signal()
        first = Signal()
        bank = Signal(init=1)
        group = Signal(range(self.channel_groups))
        vector = Signal(range(self.vectors_max))
        step = Signal()
        ready = Signal()
        finish = Signal()
        channel_needed = ~reuse & (first_columns if self.held_is_act else 1)
        spaced, room = self._spacing(m, finish, left.total), self._room(m, step & left_k.last)
        job_end = left.last & left_k.last & left_columns.last
        takes = self.may_take & (~active | job_end)
        m.d.comb += [
            self.takes.eq(takes), self.took.eq(takes & (step | ~active)),
            ready.eq(self.moving_available & (~first | shadow_full)
                     & (~left_k.last | ~channel_needed | self.channel_available)),
            step.eq(active & ready & (~first | spaced) & (~left_k.last | room)),
            finish.eq(step & left.last), self.swap.eq(step & first),
            self.waits_for_input.eq(active & ~ready), self.waits_for_output.eq(active & ready & left_k.last & ~room),
            self.stepping.eq(step), self.moving_step.eq(step), self.moving_last_pass.eq(left_columns.last),
            self.moving_first_pass.eq(first_columns & ~(reuse & self.held_is_act)),
            self.moving_end_pass.eq(left.last & left_k.last),
            self.channel_used.eq(step & left_k.last & channel_needed & (1 if self.held_is_act else left.last)),
            self.sum_valid.eq(step), self.sum_address.eq(vector), self.sum_first.eq(first_k),
            self.sum_last.eq(left_k.last), self.rows_valid.eq(step & left_k.last),
            self.rows_out.lanes.eq(left_columns.part), self.rows_out.bank.eq(bank),
            self.rows_out.channel.eq(Mux(bank, self.channel_groups, 0) + group),
            self.rows_out.last.eq(left_columns.last & left.last)]

        with m.If(step | (takes & ~active)):
            with m.If(takes):
                left_columns.start(m, columns)
                left_k.start(m, self.k)
                left.start(m, vectors)
                m.d.sync += [active.eq(1), reuse.eq(self.reuse), first_columns.eq(1), first_k.eq(1), first.eq(1),
                             vector.eq(0), group.eq(0), bank.eq(bank ^ ~self.reuse)]
            with m.Elif(left.last):
                left.restart(m)
                m.d.sync += [active.eq(~job_end), first.eq(1), vector.eq(0)]
                with m.If(left_k.last):
                    left_k.restart(m)
                    left_columns.advance(m)
                    m.d.sync += [first_k.eq(1), first_columns.eq(0), group.eq(0 if self.held_is_act else group + 1)]
                with m.Else():
                    left_k.advance(m)
                    m.d.sync += [first_k.eq(0), group.eq(0 if self.held_is_act else group)]
            with m.Else():
                left.advance(m)
                m.d.sync += [first.eq(0), vector.eq(vector + 1), group.eq(group + 1 if self.held_is_act else group)]

    def _spacing(self, m: Module, finish: Value, vectors: Value) -> Value:
        """Whether a tile may begin: a vector's sum is read again ACCUMULATE_INTERVAL cycles later at the earliest.

        Counted from the tile's last step, because a step in its middle may have come late.
        """
        waiting = Signal(range(ACCUMULATE_INTERVAL))
        spaced = Signal(init=1)
        with m.If(finish & (vectors < ACCUMULATE_INTERVAL)):
            m.d.sync += [waiting.eq(ACCUMULATE_INTERVAL - vectors), spaced.eq(0)]
        with m.Elif(~spaced):
            m.d.sync += [waiting.eq(waiting - 1), spaced.eq(waiting == 1)]
        return spaced

    def _room(self, m: Module, taken: Value) -> Value:
        """Whether a row fits, and those that the register has not seen yet."""
        return room_for(m, self.credits, returned=self.credit_returned, taken=taken, needed=1 + ROOM_LAG)
