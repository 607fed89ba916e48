"""The fused attention engine: one array of PEs for scores, exponentials and values, and a lane per row beside it."""

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.banks import BANKS, of_bank
from tilewright.rtl.attention.engine import COUNTERS, ERRORS
from tilewright.rtl.attention.frame_reader import FrameReader
from tilewright.rtl.attention.fused2d.array_sequencer import ISSUE, ArraySequencer
from tilewright.rtl.attention.fused2d.job_port import JobPort, job_layout
from tilewright.rtl.attention.fused2d.key_tiles import KeyTiles, key_tile_layout
from tilewright.rtl.attention.fused2d.pe import (
    LEVEL_DELAY,
    PRODUCT_LATENCY,
    ROUND_DELAY,
    WEIGH_DELAY,
    FusedPE,
    command_layout,
    scale_products,
    term_shape,
)
from tilewright.rtl.attention.fused2d.query_tiles import QueryTiles
from tilewright.rtl.attention.fused2d.row import FusedRow, greatest_latency, partial_latency
from tilewright.rtl.attention.fused2d.row_maximum import KEY_TILES, RowMaximum
from tilewright.rtl.attention.fused2d.vector_lane import PARTIAL_BANKS, RESULT_DELAY, LaneSequencer, VectorLane
from tilewright.rtl.attention.tile_walker import Mask, TileWalker
from tilewright.rtl.delay import delayed
from tilewright.rtl.hierarchy import shared
from tilewright.rtl.wide_multiply import CHUNK_WIDTH

STREAMS = ("q", "k", "v")
RESULT_WORDS = 16  # on their way or waiting; as many as their latency asks for, and a power of two
PUT_DELAY = ISSUE + PRODUCT_LATENCY  # from a step to its terms


class FusedEngine(wiring.Component):
    """Softmax attention on ``rows`` x ``cols`` PEs; what it computes is in ``tilewright.sim.golden.attention_fused``.

    A tile of ``rows`` queries meets its keys ``cols`` at a time. The array adds up their scores, an element per cycle,
    scales them, takes exponentials below the row's running maximum and sums up weighted values along each row, an element per
    cycle; each PE does all of it with one multiplier. A lane per row rescales and adds up what comes out.

    ======  ======================================================================================
    q       per kv head, tile, element: that of each row
    k, v    per kv head, tile, key tile, element: that of each key
    result  per kv head, tile, element: that of each row; ``keep`` marks the rows that there are
    ======  ======================================================================================

    Jobs, ``last``, ``done``, ``busy``, ``error`` and the counters as those of the streaming engine
    (:class:`~tilewright.rtl.attention.engine.AttentionEngine`), steps of the scores again. A key tile takes the array
    ``2 * head_dim + 9`` cycles and the lanes ``2 * head_dim + 10``, a query tile's division ``head_dim`` more.
    Cycles: see ``tilewright.families.attention.fused2d_cycles``, which equals ``counter_cycles`` when no port stalls.

    Reference: Nayak et al., "FuseMax: Leveraging Extended Einsums to Optimize Attention Accelerator Design", MICRO 2024.

    Parameters
    ----------
    rows, cols, head_dim : queries and keys in a tile, elements of each
    group, kv_heads : query heads per kv head, and how many kv heads a job has
    query, key, value, out : Shape of the elements, signed
    score_width : bits of a dot product
    fraction, guard_bits, table : of the exponential, as those of ``tilewright.rtl.units.exp.Exp``
    total_width : bits of a row's sum of weights
    mask : which keys a query sees
    limits : (queries, keys)       target : "generic" or "ecp5"
    """

    def __init__(self, *, rows: int, cols: int, head_dim: int, group: int, kv_heads: int, query: Shape, key: Shape,
                 value: Shape, out: Shape, score_width: int, fraction: int, guard_bits: int, table: Sequence[int],
                 total_width: int, mask: Mask, limits: tuple[int, int], target: str = "generic") -> None:
        self.rows = rows
        self.cols = cols
        self.head_dim = head_dim
        self.group = group
        self.kv_heads = kv_heads
        self.elements = {"q": (query, rows), "k": (key, cols), "v": (value, cols)}
        self.out = out
        self.score_width = score_width
        self.fraction = fraction
        self.guard_bits = guard_bits
        self.table = tuple(table)
        self.total_width = total_width
        self.mask = mask
        self.limits = limits
        self.target = target
        members: dict[str, wiring.Member] = {"job": In(stream.Signature(job_layout(limits)))}
        for name, (shape, lanes) in self.elements.items():
            members[name] = In(stream.Signature(data.StructLayout({"data": data.ArrayLayout(shape, lanes), "last": 1})))
        members |= {"result": Out(stream.Signature(data.StructLayout(
            {"data": data.ArrayLayout(out, rows), "keep": rows, "last": 1})))}
        members |= {"busy": Out(1), "done": Out(1), "error": Out(4), **{name: Out(32) for name in COUNTERS}}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        readers = {name: FrameReader(data.ArrayLayout(*self.elements[name])) for name in STREAMS}
        for name, reader in readers.items():
            m.submodules[f"{name}_reader"] = reader
            wiring.connect(m, wiring.flipped(getattr(self, name)), reader.beats)
        m.submodules.jobs = jobs = JobPort(group=self.group, mask=self.mask, limits=self.limits)
        m.submodules.loader = loader = QueryTiles(
            rows=self.rows, head_dim=self.head_dim, kv_heads=self.kv_heads, rows_max=self.limits[0] * self.group)
        m.submodules.walker = walker = TileWalker(rows=self.rows, group=self.group, kv_heads=self.kv_heads, mask=self.mask,
                                                  queries_max=self.limits[0], keys_max=self.limits[1])
        m.submodules.key_tiles = key_tiles = KeyTiles(
            rows=self.rows, cols=self.cols, group=self.group, mask=self.mask, keys_max=self.limits[1])
        m.submodules.sequencer = sequencer = ArraySequencer(
            rows=self.rows, cols=self.cols, head_dim=self.head_dim, score_width=self.score_width)
        m.submodules.lane_sequencer = lanes = LaneSequencer(
            rows=self.rows, head_dim=self.head_dim, tile=key_tile_layout(rows=self.rows))
        wiring.connect(m, wiring.flipped(self.job), jobs.job)
        m.d.comb += [
            jobs.idle.eq(loader.idle & walker.idle), jobs.done.eq(self.done), jobs.scaled.eq(sequencer.scaled.job),
            jobs.divided.eq(lanes.job), loader.take.eq(jobs.accepted), loader.rows_in.eq(jobs.rows),
            walker.take.eq(jobs.accepted), walker.queries.eq(jobs.queries), walker.keys.eq(jobs.keys),
            key_tiles.tile_available.eq(walker.available), key_tiles.tile.eq(walker.tile), walker.next.eq(key_tiles.tile_next),
            key_tiles.job.eq(jobs.number), key_tiles.next.eq(sequencer.next), sequencer.available.eq(key_tiles.available),
            sequencer.key_tile.eq(key_tiles.key_tile), sequencer.seen.eq(key_tiles.seen),
            loader.available.eq(readers["q"].available), readers["q"].step.eq(loader.step),
            readers["q"].final.eq(loader.final), loader.release.eq(sequencer.release), loader.released.eq(sequencer.bank),
            sequencer.loaded.eq(loader.full), sequencer.key_available.eq(readers["k"].available),
            readers["k"].step.eq(sequencer.key_step), readers["k"].final.eq(sequencer.key_final),
            sequencer.value_available.eq(readers["v"].available), readers["v"].step.eq(sequencer.value_step),
            readers["v"].final.eq(sequencer.value_final)]
        rows = self._rows(m, jobs, sequencer, loader, readers)
        self._lanes(m, jobs, sequencer, lanes, rows)
        self._status(m, jobs, sequencer, readers)
        return m

    def _rows(self, m: Module, jobs: JobPort, sequencer: ArraySequencer, loader: QueryTiles,
              readers: dict[str, FrameReader]) -> list[FusedRow]:
        """The array: operands and steps reach it ISSUE cycles after the sequencer."""
        m.submodules.queries = queries = Memory(
            shape=data.ArrayLayout(*self.elements["q"]), depth=BANKS * self.head_dim, init=[])
        write, read = queries.write_port(), queries.read_port()
        command = self._command(m, jobs, sequencer)
        m.d.comb += [write.en.eq(loader.step), write.addr.eq(loader.write_address), write.data.eq(readers["q"].data),
                     read.en.eq(1), read.addr.eq(sequencer.read_address)]
        (query, _), (key, _), (value, _) = (self.elements[name] for name in STREAMS)
        operand = Shape(max(key.width, value.width), True)

        def pe() -> FusedPE:
            return FusedPE(query=query, key=key, value=value, score_width=self.score_width, fraction=self.fraction,
                           guard_bits=self.guard_bits, table=self.table, target=self.target)

        term = term_shape(table=self.table, guard_bits=self.guard_bits, value=value)
        operands = [delayed(m, Mux(sequencer.step.value, readers["v"].data[col], readers["k"].data[col]), ISSUE,
                            f"operand_{col}") for col in range(self.cols)]
        rows = []
        for number in range(self.rows):
            row = shared(lambda: FusedRow(cols=self.cols, query=query, operand=operand, score_width=self.score_width,
                                          term=term, pe=pe), "fused_row")
            m.submodules[f"fused_row_{number}"] = row
            m.d.comb += [
                row.query.eq(read.data[number]), row.command.eq(command), row.keep.eq(sequencer.keeps),
                row.seen.eq(Cat(sequencer.scaled_seen[col][number] for col in range(self.cols))),
                *(row.operands[col].eq(element) for col, element in enumerate(operands))]
            rows.append(row)
        return rows

    def _command(self, m: Module, jobs: JobPort, sequencer: ArraySequencer) -> data.View:
        """What the PEs do, of the sequencer's step ISSUE cycles ago and of those before."""
        step = sequencer.step
        products = scale_products(self.score_width)
        parts = Array(jobs.multiplier[start:start + CHUNK_WIDTH] for start in range(0, len(jobs.multiplier), CHUNK_WIDTH))
        chunk = Array(Const(chunk) for chunk, _, _ in products)[step.number]
        factor = Array(parts[part] for _, part, _ in products)[step.number]
        moves = Array(Const(moves, 1) for _, _, moves in products)[step.number]
        command = Signal(command_layout(self.score_width))

        def after(value: Value, cycles: int, name: str) -> Value:
            return delayed(m, value, ISSUE + cycles, name)

        for name in ("score", "scale", "octaves", "mantissa"):
            m.d.comb += [command.begin[name].eq(after(step[name], 0, f"begin_{name}")),
                         command.land[name].eq(after(step[name], PRODUCT_LATENCY, f"land_{name}"))]
        first = Mux(step.score, sequencer.first, step.number == 0)
        m.d.comb += [
            command.begin.chunk.eq(after(chunk, 0, "chunk")), command.begin.factor.eq(after(factor, 0, "factor")),
            command.land.sum.eq(after(step.sum, PRODUCT_LATENCY, "sum")),
            command.land.first.eq(after(first, PRODUCT_LATENCY, "first")),
            command.land.moves.eq(after(moves, PRODUCT_LATENCY, "moves")),
            command.coarse.eq(after(jobs.coarse, ROUND_DELAY - 2, "coarse")),
            command.round.eq(after(sequencer.keeps, ROUND_DELAY, "round")),
            command.weigh.eq(after(step.mantissa, WEIGH_DELAY, "weigh"))]
        return command

    def _lanes(self, m: Module, jobs: JobPort, sequencer: ArraySequencer, lanes: LaneSequencer, rows: list[FusedRow]) -> None:
        put, put_word, ends = self._partials(m, sequencer, lanes)
        late = ISSUE + LEVEL_DELAY + greatest_latency(self.cols)
        takes = delayed(m, sequencer.takes, late, "takes", reset=True)
        first, seen = Signal(reset_less=True), Signal(self.rows, reset_less=True)
        with m.If(sequencer.keeps):
            m.d.sync += [first.eq(sequencer.scaled.first), seen.eq(Cat(
                Cat(sequencer.scaled_seen[col][number] for col in range(self.cols)).any() for number in range(self.rows)))]
        risen, used = Signal(range(KEY_TILES)), Signal(range(KEY_TILES))
        m.d.sync += [risen.eq(risen + takes), used.eq(used + lanes.begins)]
        value, _ = self.elements["v"]
        partial = rows[0].partial.shape()
        results = []
        for number, row in enumerate(rows):
            maximum = shared(RowMaximum, "row_maximum")
            lane = shared(lambda: VectorLane(
                head_dim=self.head_dim, partial=partial, total_width=self.total_width, value_width=value.width,
                out=self.out, fraction=self.fraction, guard_bits=self.guard_bits, table=self.table, target=self.target),
                "vector_lane")
            m.submodules[f"row_maximum_{number}"] = maximum
            m.submodules[f"vector_lane_{number}"] = lane
            m.d.comb += [
                maximum.take.eq(takes), maximum.first.eq(first), maximum.seen.eq(seen[number]),
                maximum.greatest.eq(row.greatest), maximum.put.eq(risen), maximum.get.eq(used), row.top.eq(maximum.top),
                lane.partial.eq(row.partial), lane.put.eq(put), lane.put_word.eq(put_word), lane.rise.eq(maximum.rise),
                lane.scale.eq(jobs.out_scale), lane.release.eq(lanes.done),
                *(getattr(lane, name).eq(getattr(lanes, name))
                  for name in ("get_word", "step", "first", "read", "store", "store_element", "divide"))]
            if number == 0:
                m.d.comb += lanes.divided.eq(lane.divided)
            results.append(lane.result)
        m.d.comb += lanes.ends.eq(ends)
        self._results(m, lanes, results)

    def _partials(self, m: Module, sequencer: ArraySequencer, lanes: LaneSequencer) -> tuple[Value, Value, Value]:
        """Which bank the array's sums go to: whether and where one is put, and what the banks hold."""
        bank = Signal()
        full = Signal(PARTIAL_BANKS)
        ends = Signal(data.ArrayLayout(key_tile_layout(rows=self.rows), PARTIAL_BANKS), reset_less=True)
        late = PUT_DELAY + partial_latency(self.cols)
        step = sequencer.step
        with m.If(step.sum):
            m.d.sync += ends[bank].eq(sequencer.weighed)
        with m.If(sequencer.ends):
            m.d.sync += bank.eq(~bank)
        filled = delayed(m, Mux(sequencer.ends, Cat(~bank, bank), 0), late, "filled", reset=True)
        m.d.sync += full.eq((full | filled) & ~lanes.release)
        m.d.comb += [lanes.full.eq(full), sequencer.room.eq(~of_bank(bank, full))]
        word = Signal(range(PARTIAL_BANKS * (self.head_dim + 1)))
        m.d.comb += word.eq(Mux(bank, self.head_dim + 1, 0) + Mux(step.value, sequencer.element + 1, 0))
        return delayed(m, step.sum | step.value, late, "put", reset=True), delayed(m, word, late, "put_word"), ends

    def _results(self, m: Module, lanes: LaneSequencer, results: list[Value]) -> None:
        """Results, as they come, into the queue in front of the port; rows that there are not give 0."""
        payload = self.result.payload
        left = Signal(range(RESULT_WORDS + 1), init=RESULT_WORDS)
        room = Signal(init=1)
        m.d.sync += [left.eq(left + (self.result.valid & self.result.ready) - lanes.reads), room.eq(left >= 2)]
        keep = delayed(m, Cat(lanes.end.rows > number for number in range(self.rows)), RESULT_DELAY, "keep")
        last = delayed(m, lanes.final & lanes.end.job_ends, RESULT_DELAY, "last")
        kept = [Mux(keep[number], result, 0)[:self.out.width] for number, result in enumerate(results)]
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=len(payload.as_value()), depth=RESULT_WORDS)
        m.d.comb += [
            lanes.room.eq(room), queue.w_en.eq(delayed(m, lanes.reads, RESULT_DELAY, "reads", reset=True)),
            queue.w_data.eq(Cat(*kept, keep, last)), self.result.valid.eq(queue.r_rdy), queue.r_en.eq(self.result.ready),
            payload.as_value().eq(queue.r_data)]

    def _status(self, m: Module, jobs: JobPort, sequencer: ArraySequencer, readers: dict[str, FrameReader]) -> None:
        m.d.comb += [self.done.eq(self.result.valid & self.result.ready & self.result.payload.last),
                     self.busy.eq(jobs.running != 0)]
        with m.If(jobs.accepted):
            m.d.sync += self.error.eq(0)
        for name in STREAMS:
            with m.If(readers[name].error):
                m.d.sync += self.error.eq(ERRORS[f"{name}_frame"])
        with m.If(jobs.refused):
            m.d.sync += self.error.eq(ERRORS["illegal_shape"])
        before = Signal()  # busy in the cycle before
        m.d.sync += before.eq(self.busy)
        counted = {"counter_cycles": self.busy, "counter_active": sequencer.step.score,
                   "counter_input_stall": sequencer.waits,
                   "counter_output_stall": self.result.valid & ~self.result.ready}
        for name, counts in counted.items():
            counter = getattr(self, name)
            with m.If(self.busy & ~before):
                m.d.sync += counter.eq(counts)
            with m.Elif(self.busy & counts):
                m.d.sync += counter.eq(counter + 1)
