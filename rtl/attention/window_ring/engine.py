"""The window attention engine: keys and values stay in a ring of cores, queries come past."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Array, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.attention.engine import COUNTERS, JOBS_MAX
from tilewright.rtl.attention.frame_reader import FrameReader
from tilewright.rtl.attention.normalize_rows import SCALE_BITS, SCALE_LATENCY, ScaleMeans, division_cycles
from tilewright.rtl.attention.result_queue import OFFER_LATENCY, ResultQueue
from tilewright.rtl.attention.score_row import ScoreRow, sum_latency
from tilewright.rtl.attention.status import report
from tilewright.rtl.attention.weights import MULTIPLIER_BITS
from tilewright.rtl.attention.window_ring.dividers import Dividers
from tilewright.rtl.attention.window_ring.exponentials import RingWeights, weights_timing
from tilewright.rtl.attention.window_ring.held_cores import HeldCores
from tilewright.rtl.attention.window_ring.query_sequencer import QuerySequencer, query_layout
from tilewright.rtl.attention.window_ring.ring_loader import RingLoader
from tilewright.rtl.attention.window_ring.value_core import PRODUCT_LATENCY, CoreSum, ValueCore
from tilewright.rtl.attention.window_ring.value_sequencer import ValueSequencer
from tilewright.rtl.delay import delayed
from tilewright.rtl.hierarchy import shared

TURN = 1  # cycle from a step to its address: the cores turn to a bank meanwhile


@dataclass(frozen=True)
class RingTiming:
    """How long a query is on its way, in cycles."""

    scores_at: int  # from a query's last step to its scores
    latency: int    # from a query's last step to the first one of its values
    sums_at: int    # from a step of values to its sums over all cores
    results: int    # from a step of values to the offer of its results
    slots: int      # queries that can be on their way, a power of two: a stream that never stalls finds room for each


def ring_timing(*, cores: int, lanes: int, interval: int, score_width: int, total_width: int) -> RingTiming:
    """Of an engine with these parameters."""
    weights = weights_timing(cores=cores, shared_by=interval, score_width=score_width)
    scores_at = TURN + sum_latency(lanes) + 1
    sums_at = TURN + PRODUCT_LATENCY + ceil_log2(cores)
    weighed = weights.weights_at + weights.share - TURN  # steps of values may begin: the last weight can be read
    divided = weights.total_at + division_cycles(total_width) + 1 - (sums_at - 1)  # and the factor, when the sums are there
    latency = scores_at + max(weighed, divided)
    return RingTiming(scores_at=scores_at, sums_at=sums_at, latency=latency, results=sums_at + SCALE_LATENCY + OFFER_LATENCY,
                      slots=1 << ceil_log2(-(-(2 * interval + latency) // interval) + 2))


class WindowRing(wiring.Component):
    """Softmax attention to a window of keys; what it computes to the bit is in ``tilewright.sim.golden.attention_window_ring``.

    Each of ``cores`` cores holds a key and its value. A query meets the keys of all of them at once, chunk by chunk; the
    exponentials of the scores are shared by as many cores as a query has cycles; weights relative to the greatest octave then
    meet the values of all cores, chunk by chunk, and an adder tree makes the sums, which are divided and sent. The next key and
    value replace those that have left the window, one core after the other behind the first ``fixed``, whose rows stay. A query
    waits for the rows of ``lookahead`` positions behind its own, or for the last ones there are. Each row is read once.

    Ports, jobs, errors and counters are those of ``tilewright.rtl.attention.engine.AttentionEngine``; beats hold ``lanes``
    elements, ``chunks`` beats a row:

    ======  ============================================================================
    q       per kv head, position, head of the group: the query
    k, v    per kv head, key that any query of the job sees, ascending: the key; the value
    result  per kv head, position, head of the group: the mean of the values
    ======  ============================================================================

    A query follows the one before after ``interval`` cycles, however many cores there are. Cycles: see
    ``tilewright.families.attention.window_ring_cycles``, which equals ``counter_cycles`` when no port stalls.

    Reference: Bai et al., "SWAT: Scalable and Efficient Window Attention-based Transformers Acceleration on FPGAs", DAC 2024.

    Parameters
    ----------
    cores, fixed, lookahead : keys that a query can see; how many of them are the first of all, how many lie behind its own
    lanes, chunks : elements in a beat, beats in a row
    interval : cycles from one query to the next, ``chunks`` or more: the fewer, the more exponentials and dividers
    group, kv_heads : query heads per kv head, and how many kv heads a job has
    query, key, value, out : Shape of the elements, signed
    score_width : bits of a dot product
    fraction, mantissa_bits, guard_bits, table : as ``ExponentFront`` of ``tilewright.rtl.units.softmax_exponent``, octave below
    total_width : bits of a sum of ``cores`` weights
    limits : (queries, keys)       target : "generic" or "ecp5"
    """

    def __init__(self, *, cores: int, fixed: int, lookahead: int, lanes: int, chunks: int, group: int, kv_heads: int,
                 interval: int, query: Shape, key: Shape, value: Shape, out: Shape, score_width: int, fraction: int,
                 mantissa_bits: int, guard_bits: int, table: Sequence[int], total_width: int, limits: tuple[int, int],
                 target: str = "generic") -> None:
        self.cores = cores
        self.fixed = fixed
        self.lookahead = lookahead
        self.past = cores - lookahead
        self.lanes = lanes
        self.chunks = chunks
        self.group = group
        self.kv_heads = kv_heads
        self.interval = interval
        self.elements = {"q": query, "k": key, "v": value}
        self.out = out
        self.score_width = score_width
        self.weight_width = mantissa_bits + guard_bits + 1
        self.total_width = total_width
        self.limits = limits
        self.target = target
        if interval < chunks:
            raise ValueError(f"interval must be at least chunks, {chunks}, not {interval!r}")
        self.weights = RingWeights(cores=cores, shared_by=interval, score_width=score_width, fraction=fraction,
                                   mantissa_bits=mantissa_bits, guard_bits=guard_bits, table=table, total_width=total_width,
                                   target=target)
        self.timing = ring_timing(cores=cores, lanes=lanes, interval=interval, score_width=score_width, total_width=total_width)
        self.scale_means = ScaleMeans(lanes=lanes, total_width=total_width, value_width=value.width, out=out, clamps=False,
                                      target=target)
        self.queue = ResultQueue(lanes=lanes, element=out, words=1 << ceil_log2(self.timing.results + 4))
        queries, keys = limits
        job = data.StructLayout({"queries": range(queries + 1), "keys": range(keys + 1), "score_multiplier": MULTIPLIER_BITS,
                                 "score_shift": 6, "out_scale": SCALE_BITS})
        members: dict[str, wiring.Member] = {"job": In(stream.Signature(job))}
        for name, shape in self.elements.items():
            members[name] = In(stream.Signature(data.StructLayout({"data": data.ArrayLayout(shape, lanes), "last": 1})))
        members |= {"result": Out(self.queue.result.signature), "busy": Out(1), "done": Out(1), "error": Out(4)}
        members |= {name: Out(32) for name in COUNTERS}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        readers = {name: FrameReader(data.ArrayLayout(shape, self.lanes)) for name, shape in self.elements.items()}
        for name, reader in readers.items():
            m.submodules[f"{name}_reader"] = reader
            wiring.connect(m, wiring.flipped(getattr(self, name)), reader.beats)
        loaders = {name: RingLoader(cores=self.cores, fixed=self.fixed, lookahead=self.lookahead, chunks=self.chunks,
                                    kv_heads=self.kv_heads, positions_max=self.limits[0]) for name in ("k", "v")}
        for name, loader in loaders.items():
            m.submodules[f"{name}_loader"] = loader
            m.d.comb += [loader.available.eq(readers[name].available), readers[name].step.eq(loader.step),
                         readers[name].final.eq(loader.final)]
        m.submodules.sequencer = sequencer = QuerySequencer(
            lookahead=self.lookahead, chunks=self.chunks, group=self.group, kv_heads=self.kv_heads, interval=self.interval,
            positions_max=self.limits[0])
        m.submodules.value_sequencer = values = ValueSequencer(chunks=self.chunks, slots=self.timing.slots)
        accepted, refused, constants = self._jobs(m, loaders, sequencer)
        key_loader, value_loader = loaders["k"], loaders["v"]
        m.d.comb += [
            sequencer.available.eq(readers["q"].available), readers["q"].step.eq(sequencer.step),
            readers["q"].final.eq(sequencer.final), sequencer.loaded.eq(key_loader.loaded), key_loader.open.eq(sequencer.opens),
            key_loader.head_opens.eq(sequencer.query.begins_head), key_loader.brings.eq(sequencer.query.brings),
            key_loader.open_rows.eq(constants["first_rows"][sequencer.query.job]),
            sequencer.room.eq(values.room), values.reserve.eq(sequencer.begins), values.query.eq(sequencer.query),
            values.loaded.eq(value_loader.loaded), value_loader.open.eq(values.opens),
            value_loader.head_opens.eq(values.query_now.begins_head), value_loader.brings.eq(values.query_now.brings),
            value_loader.open_rows.eq(constants["first_rows"][values.query_now.job])]
        self._scores(m, sequencer, key_loader, readers)
        job = delayed(m, sequencer.query.job, self.timing.scores_at, "job")
        self._weigh(m, sequencer, values, constants, job)
        sums = self._values(m, values, value_loader, readers["v"])
        self._divide(m, values, sums, constants, job)
        report(m, self, accepted=accepted, refused=refused, frames={name: reader.error for name, reader in readers.items()},
               active=sequencer.step, waits=sequencer.waits | values.waits)
        return m

    def _jobs(self, m: Module, loaders: dict[str, RingLoader], sequencer: QuerySequencer,
              ) -> tuple[Value, Value, dict[str, Array]]:
        """Check the job at the port, then offer it to the loaders and to the sequencer, who take it when they are idle.

        Each is idle when all jobs but one have left the engine, so what is offered is always the newest.

        Returns whether one is accepted, whether one is refused, and the constants of the jobs on their way by the job's parity.
        """
        job = self.job.payload
        accepted, refused, checked, legal = Signal(), Signal(), Signal(), Signal()
        parity = Signal()
        running = Signal(range(JOBS_MAX + 1))
        first_past, first_rows = Signal(range(self.past + 1)), Signal(range(self.cores + 1))  # first_past of them no later
        before = job.keys - job.queries
        past = Mux(before >= self.past, self.past, before + 1)
        queries_max, keys_max = self.limits
        m.d.sync += [
            checked.eq(self.job.valid & ~self.job.ready),
            legal.eq((job.queries != 0) & (job.keys != 0) & (job.queries <= queries_max) & (job.keys <= keys_max)
                     & ~before[-1]),
            first_past.eq(past),
            first_rows.eq(past + (Mux(job.queries > self.lookahead, self.lookahead, job.queries - 1) if self.lookahead else 0)),
            running.eq(running + accepted - self.done)]
        m.d.comb += [
            accepted.eq(checked & legal & (running != JOBS_MAX)), refused.eq(checked & ~legal),
            self.job.ready.eq(accepted | refused), self.busy.eq(running != 0)]
        constants = {}
        for name, value in ({name: job[name] for name in ("score_multiplier", "score_shift", "out_scale", "queries")}
                            | {"first_past": first_past, "first_rows": first_rows}).items():
            kept = Array(Signal.like(value, name=f"{name}_{k}", reset_less=True) for k in range(JOBS_MAX))
            with m.If(accepted):
                m.d.sync += kept[~parity].eq(value)
            constants[name] = kept
        with m.If(accepted):
            m.d.sync += parity.eq(~parity)
        takers: list[RingLoader | QuerySequencer] = [*loaders.values(), sequencer]
        for taker in takers:
            m.d.sync += taker.offered.eq(accepted | (taker.offered & ~taker.next))
            m.d.comb += taker.positions.eq(constants["queries"][parity])
        m.d.comb += [loader.first_rows.eq(constants["first_rows"][parity]) for loader in loaders.values()]
        return accepted, refused, constants

    def _scores(self, m: Module, sequencer: QuerySequencer, loader: RingLoader, readers: dict[str, FrameReader]) -> None:
        latency = TURN + sum_latency(self.lanes)
        chunk = delayed(m, sequencer.chunk, TURN, "chunk")
        query = delayed(m, readers["q"].data.as_value(), TURN, "query")
        accumulate = delayed(m, sequencer.step, latency, "accumulate", reset=True)
        first = delayed(m, sequencer.begins, latency, "begins")
        for k in range(self.cores):
            # A score row whose query stays: here the keys do, and it is queries that come past.
            core = shared(lambda: ScoreRow(
                lanes=self.lanes, chunks=self.chunks, query=self.elements["k"], key=self.elements["q"],
                score_width=self.score_width, target=self.target), "score_core")
            m.submodules[f"score_core_{k}"] = core
            m.d.comb += [
                core.write.eq(loader.write[k]), core.write_address.eq(loader.write_address),
                core.write_data.eq(readers["k"].data), core.read_address.eq(Mux(loader.banks[k], self.chunks, 0) + chunk),
                core.key.as_value().eq(query), core.accumulate.eq(accumulate), core.first.eq(first),
                self.weights.scores[k].eq(core.score)]

    def _weigh(self, m: Module, sequencer: QuerySequencer, values: ValueSequencer, constants: dict[str, Array],
               job: Value) -> None:
        weights = self.weights
        m.submodules.exponentials = weights
        m.submodules.held = held = HeldCores(cores=self.cores, fixed=self.fixed, past=self.past)
        query = data.View(query_layout(), delayed(m, sequencer.query.as_value(), self.timing.scores_at - 1, "query_to_hold"))
        m.d.comb += [
            held.open.eq(delayed(m, sequencer.opens, self.timing.scores_at - 1, "opens", reset=True)),
            held.head_opens.eq(query.begins_head), held.brings.eq(query.brings),
            held.open_rows.eq(constants["first_rows"][query.job]), held.open_past.eq(constants["first_past"][query.job]),
            weights.held.eq(held.held),
            weights.valid.eq(delayed(m, sequencer.ends, self.timing.scores_at, "ends", reset=True)),
            weights.multiplier.eq(constants["score_multiplier"][job]), weights.shift.eq(constants["score_shift"][job]),
            values.weighed.eq(
                delayed(m, weights.valid, self.timing.latency - self.timing.scores_at - 1, "weighed", reset=True))]

    def _values(self, m: Module, values: ValueSequencer, loader: RingLoader, reader: FrameReader) -> list[Value]:
        """The sums over all cores, a lane each; weights come to the slots in the queries' order."""
        weights, shape = self.weights, self.elements["v"]
        weigh_slot = Signal(range(self.timing.slots))
        with m.If(weights.offer[-1]):
            m.d.sync += weigh_slot.eq(weigh_slot + 1)
        chunk = delayed(m, values.chunk, TURN, "value_chunk")
        slot = delayed(m, values.slot, TURN, "value_slot")
        cores = []
        for k in range(self.cores):
            core = shared(lambda: ValueCore(
                lanes=self.lanes, chunks=self.chunks, value=shape, weight_width=self.weight_width, slots=self.timing.slots,
                target=self.target), "value_core")
            m.submodules[f"value_core_{k}"] = core
            unit, turn = divmod(k, weights.share)
            m.d.comb += [
                core.write.eq(loader.write[k]), core.write_address.eq(loader.write_address), core.write_data.eq(reader.data),
                core.weigh.eq(weights.offer[turn]), core.weigh_slot.eq(weigh_slot), core.weight.eq(weights.weights[unit]),
                core.read_address.eq(Mux(loader.banks[k], self.chunks, 0) + chunk), core.slot.eq(slot)]
            cores.append(core)
        sums = []
        for lane in range(self.lanes):
            total = shared(lambda: CoreSum(cores=self.cores, product_width=shape.width + self.weight_width + 1,
                                           sum_width=self.total_width + shape.width), "core_sum")
            m.submodules[f"core_sum_{lane}"] = total
            m.d.comb += [total.products[k].eq(core.products[lane]) for k, core in enumerate(cores)]
            sums.append(total.sum)
        return sums

    def _divide(self, m: Module, values: ValueSequencer, sums: list[Value], constants: dict[str, Array],
                job: Value) -> None:
        """Totals to factors, one for each slot, while the weights wait for their values; then sums to results."""
        weights, scale, queue = self.weights, self.scale_means, self.queue
        m.submodules.dividers = dividers = Dividers(total_width=self.total_width, interval=self.interval)
        m.submodules.scale_means = scale
        m.submodules.queue = queue
        factor = data.StructLayout({"factor": len(scale.factor), "places": len(scale.places)})
        m.submodules.factors = factors = Memory(shape=factor, depth=self.timing.slots, init=[])
        factor_slot = Signal(range(self.timing.slots))
        with m.If(dividers.done):
            m.d.sync += factor_slot.eq(factor_slot + 1)
        put, get = factors.write_port(), factors.read_port()
        m.d.comb += [
            dividers.start.eq(weights.total_valid), dividers.total.eq(weights.total),
            dividers.scale.eq(constants["out_scale"][delayed(m, job, weights.timing.total_at, "total_job")]),
            put.en.eq(dividers.done), put.addr.eq(factor_slot), put.data.factor.eq(dividers.factor),
            put.data.places.eq(dividers.places), get.en.eq(1),
            get.addr.eq(delayed(m, values.slot, self.timing.sums_at - 1, "factor_slot")),
            scale.factor.eq(get.data.factor), scale.places.eq(get.data.places),
            *(scale.sums[lane].eq(total) for lane, total in enumerate(sums))]
        due = self.timing.sums_at + SCALE_LATENCY
        m.d.comb += [
            queue.begun.eq(values.step), values.results_room.eq(queue.room), queue.data.eq(scale.results),
            queue.valid.eq(delayed(m, values.step, due, "results", reset=True)),
            queue.last.eq(delayed(m, values.ends, due, "results_last"))]
        wiring.connect(m, queue.result, wiring.flipped(self.result))
