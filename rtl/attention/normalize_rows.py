"""The end of a tile: each row's sums divided by its total, scaled and rounded."""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.banks import BANKS, of_bank
from tilewright.rtl.attention.value_sequencer import tile_end_layout
from tilewright.rtl.delay import delayed
from tilewright.rtl.units.normalize import normalize_latency, normalized
from tilewright.rtl.units.pipeline import Stages
from tilewright.rtl.units.product import PRODUCT_LATENCY, staged_product
from tilewright.rtl.units.softmax_exponent import whole_eights

SCALE_BITS = 16       # of out_scale
SCALE_FRACTION = 12   # of them behind the point
MEAN_FRACTION = 10    # fraction bits of a mean
QUOTIENT_BITS = 17
SCALE_LATENCY = 2 + PRODUCT_LATENCY + 2
PICK_LATENCY = 2      # from reading a word to having it, out of the rows' words, in registers
RESULT_LATENCY = PICK_LATENCY + SCALE_LATENCY + 2  # from reading a word to offering its results
RESULT_WORDS = 16     # on their way or waiting; as many as RESULT_LATENCY cycles ask for, and a power of two


def division_cycles(total_width: int) -> int:
    """From one row's total to the next one's."""
    return normalize_latency(total_width) + QUOTIENT_BITS + 2


class ScaleMeans(wiring.Component):
    """``clamp(rne(((sum << places) >> (total_width - 10)) * factor / 2**22))`` of each lane, SCALE_LATENCY cycles later.

    What ``factor`` meets has 10 bits more than a value; one bit beyond them counts where it ``clamps`` to them.
    """

    def __init__(self, *, lanes: int, total_width: int, value_width: int, out: Shape, clamps: bool, target: str) -> None:
        self.lanes = lanes
        self.total_width = total_width
        self.value_width = value_width
        self.out = out
        self.clamps = clamps
        self.target = target
        self.sum_shape = signed(total_width + value_width)
        super().__init__({
            "sums": In(data.ArrayLayout(self.sum_shape, lanes)), "places": In(range(total_width)), "factor": In(QUOTIENT_BITS),
            "results": Out(data.ArrayLayout(out, lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        stages = Stages(m, Const(1, 1))
        fine = stages.stage(self.places[:3], "fine_places")
        factor = stages.stage(self.factor, "factor", cycles=2)
        m.d.comb += [self.results[k].eq(self._lane(stages, self.sums[k], self.places, fine, factor, k))
                     for k in range(self.lanes)]
        return m

    def _lane(self, stages: Stages, total: Value, places: Value, fine: Value, factor: Value, k: int) -> Value:
        width, mean_width = self.sum_shape.width, self.value_width + MEAN_FRACTION
        top = width + self.clamps
        coarse = stages.stage((total << whole_eights(places))[:top], f"by_eights_{k}")
        mean = stages.stage((coarse << fine)[width - mean_width:top].as_signed(), f"mean_{k}")
        if self.clamps:
            mean = Mux(mean[-1] == mean[-2], mean[:-1], Cat(mean[-2].replicate(mean_width - 1), mean[-1])).as_signed()
        product = staged_product(stages, mean, factor, f"product_{k}", target=self.target)
        drop = MEAN_FRACTION + SCALE_FRACTION
        floor = product[drop:].as_signed()
        half, rest = product[drop - 1], product[:drop - 1].any()
        rounded = stages.stage(floor + (half & (rest | floor[0])), f"rounded_{k}", shape=signed(len(floor) + 1))
        low = -(1 << self.out.width - 1)
        above, below = rounded > -low - 1, rounded < low
        return stages.stage(Mux(below, low, Mux(above, -low - 1, rounded)), f"result_{k}", shape=self.out)


class RowDivider(wiring.Component):
    """``factor = floor(scale * 2**total_width / (total << places))`` where ``total << places`` fills ``total_width`` bits.

    ``start`` takes ``total`` and ``scale`` while the divider is ``idle``; ``done`` is high from the cycle
    ``division_cycles(total_width)`` later on until ``take``. A ``total`` of 0 gives a number without a meaning.
    Restoring division, a subtraction of ``total_width + 1`` bits a cycle.
    """

    def __init__(self, *, total_width: int) -> None:
        if total_width < SCALE_BITS:
            raise ValueError(f"total_width must be at least {SCALE_BITS}, not {total_width!r}")
        self.total_width = total_width
        super().__init__({
            "start": In(1), "total": In(total_width), "scale": In(SCALE_BITS), "idle": Out(1), "done": Out(1), "take": In(1),
            "factor": Out(QUOTIENT_BITS), "places": Out(range(total_width))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = self.total_width
        ready = 1 + normalize_latency(width)  # the cycle in which the normalised total is there
        phase = Signal(ready + QUOTIENT_BITS + 1)  # one-hot, bit 0 the cycle after start
        divisor, total = Signal(width, reset_less=True), Signal(width, reset_less=True)
        remainder = Signal(width + 1, reset_less=True)
        quotient = Signal(QUOTIENT_BITS, reset_less=True)
        scale = Signal(SCALE_BITS, reset_less=True)
        shifted, place = normalized(Stages(m, Const(1, 1)), total, "normal")
        difference = Signal(width + 2)  # its top bit: the divisor does not fit
        fits = ~difference[-1]
        m.d.comb += [
            difference.eq(remainder - divisor), self.done.eq(phase[-1]), self.idle.eq(~phase.any() | self.take),
            self.factor.eq(quotient)]
        m.d.sync += phase.eq(Cat(self.start, phase[:-2], phase[-2] | (phase[-1] & ~self.take)))
        with m.If(self.start):
            m.d.sync += [total.eq(self.total), scale.eq(self.scale)]
        with m.If(phase[ready - 1]):
            m.d.sync += [divisor.eq(shifted), remainder.eq(scale << width - SCALE_BITS), self.places.eq(width - 1 - place)]
        with m.Elif(~phase[-1]):
            m.d.sync += [quotient.eq(Cat(fits, quotient)), remainder.eq(Mux(fits, difference, remainder) << 1)]
        return m


class NormalizeRows(wiring.Component):
    """Finished tiles, bank by bank in turn, to result beats: the rows in order, ``chunks`` words each.

    ``owned`` and ``ends`` tell of the banks that hold a tile; ``total`` and ``scale`` are those of row ``divide_row`` of
    ``divide_bank`` and of job ``divide_job``, the next to divide. Word ``read_chunk`` is read in every cycle; ``sums`` is the
    one read in the cycle before, of ``word_row`` and ``word_bank``. ``release`` frees a bank whose last word was taken. Nothing
    on the way waits: a word is read when its results find room in front of the port.
    """

    def __init__(self, *, rows: int, lanes: int, chunks: int, total_width: int, value_width: int, out: Shape, clamps: bool,
                 target: str) -> None:
        self.rows = rows
        self.chunks = chunks
        self.total_width = total_width
        self.scale_means = ScaleMeans(lanes=lanes, total_width=total_width, value_width=value_width, out=out, clamps=clamps,
                                      target=target)
        super().__init__({
            "owned": In(BANKS), "ends": In(data.ArrayLayout(tile_end_layout(rows=rows), BANKS)), "release": Out(BANKS),
            "divide_bank": Out(1), "divide_row": Out(range(rows)), "divide_job": Out(1), "total": In(total_width),
            "scale": In(SCALE_BITS),
            "read_chunk": Out(range(chunks)), "word_bank": Out(1), "word_row": Out(range(rows)),
            "sums": In(data.ArrayLayout(self.scale_means.sum_shape, lanes)),
            "result": Out(stream.Signature(data.StructLayout(
                {"data": data.ArrayLayout(out, lanes), "keep": lanes, "last": 1})))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.divider = divider = RowDivider(total_width=self.total_width)
        m.submodules.scale_means = scale = self.scale_means
        about = data.StructLayout({"bank": 1, "row": range(self.rows), "tile_ends": 1, "job_ends": 1})
        dividing = Signal(about, reset_less=True)
        end, row_ends = self._divide(m, divider)  # the next row, while the row before is read
        with m.If(divider.start):
            m.d.sync += [dividing.bank.eq(self.divide_bank), dividing.row.eq(self.divide_row), dividing.tile_ends.eq(row_ends),
                         dividing.job_ends.eq(row_ends & end.job_ends)]
        # Read: a word in every cycle, as long as there is room for its results.
        reading = Signal()
        about_row, about_word = Signal(about, reset_less=True), Signal(about, reset_less=True)
        factor, word_factor = (Signal.like(divider.factor, name=name, reset_less=True) for name in ("factor", "word_factor"))
        places, word_places = (Signal.like(divider.places, name=name, reset_less=True) for name in ("places", "word_places"))
        word, word_ends = Signal(), Signal(reset_less=True)
        reads = Signal()
        row_read = reads & (self.read_chunk == self.chunks - 1)
        m.d.comb += [
            reads.eq(reading & self._room(m, reads)), divider.take.eq(divider.done & (~reading | row_read)),
            self.word_bank.eq(about_word.bank), self.word_row.eq(about_word.row),
            scale.sums.as_value().eq(delayed(m, self.sums.as_value(), 1, "picked")),
            scale.factor.eq(delayed(m, word_factor, 1, "picked_factor")),
            scale.places.eq(delayed(m, word_places, 1, "picked_places")),
            self.release.eq(Mux(word & word_ends & about_word.tile_ends, self._bit(about_word.bank), 0))]
        with m.If(reads):
            m.d.sync += self.read_chunk.eq(Mux(row_read, 0, self.read_chunk + 1))
        with m.If(divider.take):
            m.d.sync += [reading.eq(1), about_row.eq(dividing), factor.eq(divider.factor), places.eq(divider.places)]
        with m.Elif(row_read):
            m.d.sync += reading.eq(0)
        m.d.sync += [word.eq(reads), word_ends.eq(self.read_chunk == self.chunks - 1), about_word.eq(about_row),
                     word_factor.eq(factor), word_places.eq(places)]
        self._offer(m, scale, word, word_ends & about_word.job_ends)
        return m

    def _divide(self, m: Module, divider: RowDivider) -> tuple[data.View, Value]:
        """Starts ``divider`` on row after row; returns the end of the next one's tile, and whether it is the tile's last."""
        pending = Signal(BANKS)  # tiles of which a row is not yet divided
        begun = Signal(BANKS)    # tiles whose rows are all divided, until their bank is free
        end = data.View(tile_end_layout(rows=self.rows), of_bank(self.divide_bank, self.ends))
        row_ends = self.divide_row + 1 == end.rows
        m.d.comb += [pending.eq(self.owned & ~begun), divider.total.eq(self.total), divider.scale.eq(self.scale),
                     self.divide_job.eq(end.job), divider.start.eq(divider.idle & of_bank(self.divide_bank, pending))]
        m.d.sync += begun.eq(begun & ~self.release)
        with m.If(divider.start):
            m.d.sync += self.divide_row.eq(Mux(row_ends, 0, self.divide_row + 1))
            with m.If(row_ends):
                m.d.sync += [self.divide_bank.eq(~self.divide_bank),
                             begun.eq((begun & ~self.release) | self._bit(self.divide_bank))]
        return end, row_ends

    def _room(self, m: Module, reads: Value) -> Value:
        """Whether a word's results find room, also if one was read in the cycle before."""
        left = Signal(range(RESULT_WORDS + 1), init=RESULT_WORDS)
        room = Signal(init=1)
        m.d.sync += [left.eq(left + (self.result.valid & self.result.ready) - reads), room.eq(left >= 2)]
        return room

    def _offer(self, m: Module, scale: ScaleMeans, word: Value, last: Value) -> None:
        """Results, as they come, into the queue in front of the port."""
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=len(scale.results.as_value()) + 1, depth=RESULT_WORDS)
        payload = self.result.payload
        m.d.comb += [
            queue.w_en.eq(delayed(m, word, 1 + SCALE_LATENCY, "word", reset=True)),
            queue.w_data.eq(Cat(scale.results, delayed(m, last, 1 + SCALE_LATENCY, "last"))),
            self.result.valid.eq(queue.r_rdy), queue.r_en.eq(self.result.ready),
            Cat(payload.data, payload.last).eq(queue.r_data), payload.keep.eq(Const(-1, len(payload.keep)))]

    @staticmethod
    def _bit(bank: Value) -> Value:
        return Cat(~bank, bank)
