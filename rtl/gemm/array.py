"""The PE grids, a row of PEs elaborated once and instantiated for every row."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.delay import delayed
from tilewright.rtl.gemm.pe import OutputStationaryPe, StationaryOperandPe, low_half, pass_on
from tilewright.rtl.hierarchy import shared

DRAIN_LATENCY = 1


def lane(bus: Value, index: int, width: int) -> Value:
    """Lane ``index`` of a bus of lanes, lane 0 in the low bits."""
    return bus[index * width:(index + 1) * width]


class OutputStationaryRow(wiring.Component):
    """``cols`` PEs side by side. Buses hold column 0 in their low bits.

    ``low_done`` and ``high_done`` say per column in which cycle the halves of ``acc`` are finished sums. The flags
    are those of :class:`OutputStationaryPe`, for column 0.
    """

    def __init__(self, *, cols: int, act_shape: Shape, weight_shape: Shape, acc_width: int, overflow: str,
                 pipeline: int, target: str) -> None:
        self.cols = cols
        self.act_shape = act_shape
        self.weight_shape = weight_shape
        self.acc_width = acc_width
        self.pe_parameters = {"act_shape": act_shape, "weight_shape": weight_shape, "acc_width": acc_width,
                              "overflow": overflow, "pipeline": pipeline, "target": target}
        weights = cols * weight_shape.width
        super().__init__({
            "act": In(act_shape), **{name: In(1) for name in OutputStationaryPe.FLAGS},
            "weights_in": In(weights), "weights_out": Out(weights),
            "acc": Out(cols * acc_width), "low_done": Out(cols), "high_done": Out(cols)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        act: Value = self.act
        flags: dict[str, Value] = {name: getattr(self, name) for name in OutputStationaryPe.FLAGS}
        weights, sums, low_done, high_done = [], [], [], []
        for col in range(self.cols):
            pe = shared(lambda: OutputStationaryPe(**self.pe_parameters), "pe")
            m.submodules[f"pe_{col}"] = pe
            m.d.comb += [pe.act_in.eq(act), *(getattr(pe, f"{name}_in").eq(flag) for name, flag in flags.items()),
                         pe.weight_in.eq(lane(self.weights_in, col, self.weight_shape.width))]
            low_done.append(flags["done"])
            high_done.append(pe.done_out)
            weights.append(pe.weight_out)
            sums.append(pe.acc)
            act, flags = pe.act_out, {name: getattr(pe, f"{name}_out") for name in flags}
        m.d.comb += [self.weights_out.eq(Cat(*weights)), self.acc.eq(Cat(*sums)),
                     self.low_done.eq(Cat(*low_done)), self.high_done.eq(Cat(*high_done))]
        return m


class DrainPair(wiring.Component):
    """First level of the drain: the finished sums of two rows, zero where there is none. Combinational.

    No two rows of a column finish in one cycle, so a LUT takes two sums and their two flags: half a LUT per
    drained bit, and no shadow register in the PE.
    """

    COMBINATIONAL = True

    def __init__(self, *, cols: int, acc_width: int) -> None:
        self.cols = cols
        self.acc_width = acc_width
        members: dict[str, wiring.Member] = {"o": Out(cols * acc_width)}
        for side in ("north", "south"):
            members |= {f"{side}_acc": In(cols * acc_width), f"{side}_low_done": In(cols), f"{side}_high_done": In(cols)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.o.eq(Cat(self._finished("north", col) | self._finished("south", col) for col in range(self.cols)))
        return m

    def _finished(self, side: str, col: int) -> Value:
        acc, low_done, high_done = (getattr(self, f"{side}_{name}") for name in ("acc", "low_done", "high_done"))
        low = low_half(self.acc_width)
        done = Cat(low_done[col].replicate(low), high_done[col].replicate(self.acc_width - low))
        return lane(acc, col, self.acc_width) & done


class OutputStationaryArray(wiring.Component):
    """``rows`` x ``cols`` PEs that keep the sums, and the tree that drains them.

    Lane r of ``acts`` feeds row r and lane c of ``weights`` column c; the caller skews them, lane i one cycle
    behind lane i - 1. The flags are those of PE (0, 0). In cycle t + i + j + DRAIN_LATENCY after a ``done`` in cycle t,
    lane j of ``sums`` carries the sum of PE (i, j): its low half; the high half follows one cycle later. Lanes without
    a finished sum carry zero. ``done`` comes at most every ``rows`` cycles.
    """

    def __init__(self, *, rows: int, cols: int, act_shape: Shape, weight_shape: Shape, acc_width: int,
                 overflow: str = "exact", pipeline: int = 2, target: str = "generic") -> None:
        self.rows = rows
        self.cols = cols
        self.act_shape = act_shape
        self.weight_shape = weight_shape
        self.acc_width = acc_width
        self.row_parameters = {
            "cols": cols, "act_shape": act_shape, "weight_shape": weight_shape, "acc_width": acc_width,
            "overflow": overflow, "pipeline": pipeline, "target": target}
        super().__init__({
            "acts": In(rows * act_shape.width), "weights": In(cols * weight_shape.width),
            **{name: In(1) for name in OutputStationaryPe.FLAGS}, "sums": Out(cols * acc_width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        weights: Value = self.weights
        flags: dict[str, Value] = {name: getattr(self, name) for name in OutputStationaryPe.FLAGS}
        grid = []
        for i in range(self.rows):
            row = shared(lambda: OutputStationaryRow(**self.row_parameters), "row")
            m.submodules[f"row_{i}"] = row
            m.d.comb += [row.act.eq(lane(self.acts, i, self.act_shape.width)), row.weights_in.eq(weights),
                         *(getattr(row, name).eq(flag) for name, flag in flags.items())]
            weights = row.weights_out
            flags = {name: delayed(m, flag, 1, f"{name}_{i + 1}", own=True, reset=name == "done")
                     for name, flag in flags.items()}
            grid.append(row)
        merged = [self._drain_pair(m, i, grid[i:i + 2]) for i in range(0, self.rows, 2)]
        for col in range(self.cols):  # a register per lane: simulators are slow at buses wider than a word
            drained = reduce(or_, (lane(pair, col, self.acc_width) for pair in merged))
            pass_on(m, drained, lane(self.sums, col, self.acc_width), f"sum_{col}")
        return m

    def _drain_pair(self, m: Module, index: int, rows: Sequence[OutputStationaryRow]) -> Value:
        pair = shared(lambda: DrainPair(cols=self.cols, acc_width=self.acc_width), "drain_pair")
        m.submodules[f"drain_{index}"] = pair
        for side, row in zip(("north", "south"), rows, strict=False):
            m.d.comb += [getattr(pair, f"{side}_{name}").eq(getattr(row, name)) for name in ("acc", "low_done", "high_done")]
        return pair.o


class StationaryOperandRow(wiring.Component):
    """``cols`` PEs side by side, each with its held operand. Buses hold column 0 in their low bits."""

    def __init__(self, *, cols: int, moving_shape: Shape, held_shape: Shape, sum_width: int, overflow: str,
                 pipeline: int, target: str) -> None:
        self.cols = cols
        self.held_width = held_shape.width
        self.sum_width = sum_width
        self.pe_parameters = {"moving_shape": moving_shape, "held_shape": held_shape, "sum_width": sum_width,
                              "overflow": overflow, "pipeline": pipeline, "target": target}
        super().__init__({
            "moving": In(moving_shape), "load": In(1), "swap": In(1),
            "held_in": In(cols * held_shape.width), "held_out": Out(cols * held_shape.width),
            "sums_in": In(cols * sum_width), "sums_out": Out(cols * sum_width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        moving: Value = self.moving
        load: Value = self.load
        swap: Value = self.swap
        held, sums = [], []
        for col in range(self.cols):
            pe = shared(lambda: StationaryOperandPe(**self.pe_parameters), "pe")
            m.submodules[f"pe_{col}"] = pe
            m.d.comb += [pe.moving_in.eq(moving), pe.load_in.eq(load), pe.swap_in.eq(swap),
                         pe.held_in.eq(lane(self.held_in, col, self.held_width)),
                         pe.sum_in.eq(lane(self.sums_in, col, self.sum_width))]
            held.append(pe.held_out)
            sums.append(pe.sum_out)
            moving, load, swap = pe.moving_out, pe.load_out, pe.swap_out
        m.d.comb += [self.held_out.eq(Cat(*held)), self.sums_out.eq(Cat(*sums))]
        return m


class StationaryOperandArray(wiring.Component):
    """``rows`` x ``cols`` PEs that hold one operand while the other moves through.

    The caller skews ``moving`` and ``held`` as in the output-stationary array. ``swap`` belongs to the
    operand in lane 0 of ``moving`` in the same cycle and reaches PE (i, j) i + j cycles later. ``push``
    shifts lane 0 of ``held`` into the top of column 0; the first push of a tile ends in the bottom
    row, the last one, marked by ``push_last``, in the top row: ``rows`` pushes fill the shadow. The
    first push of a tile may come in the cycle of the swap before, not earlier. Moving operands that
    enter column 0 in cycle t reach lane j of ``sums`` in cycle t + rows + pipeline + j.
    """

    def __init__(self, *, rows: int, cols: int, moving_shape: Shape, held_shape: Shape, sum_width: int,
                 overflow: str = "exact", pipeline: int = 2, target: str = "generic") -> None:
        self.rows = rows
        self.cols = cols
        self.moving_shape = moving_shape
        self.held_shape = held_shape
        self.sum_width = sum_width
        self.row_parameters = {
            "cols": cols, "moving_shape": moving_shape, "held_shape": held_shape, "sum_width": sum_width,
            "overflow": overflow, "pipeline": pipeline, "target": target}
        super().__init__({
            "moving": In(rows * moving_shape.width), "held": In(cols * held_shape.width),
            "swap": In(1), "push": In(1), "push_last": In(1), "sums": Out(cols * sum_width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held: Value = self.held
        sums: Value = Const(0, self.cols * self.sum_width)
        swap: Value = self.swap
        reached: Value = self.push  # row i shifts from the push with index i on
        for i in range(self.rows):
            row = shared(lambda: StationaryOperandRow(**self.row_parameters), "row")
            m.submodules[f"row_{i}"] = row
            m.d.comb += [row.moving.eq(lane(self.moving, i, self.moving_shape.width)), row.swap.eq(swap),
                         row.load.eq(reached), row.held_in.eq(held), row.sums_in.eq(sums)]
            next_reached = Signal(name=f"reached_{i + 1}")
            with m.If(self.push):
                m.d.sync += next_reached.eq(reached & ~self.push_last)
            held, sums, swap = row.held_out, row.sums_out, delayed(m, swap, 1, f"swap_{i + 1}", own=True)
            reached = next_reached & self.push
        m.d.comb += self.sums.eq(sums)
        return m
