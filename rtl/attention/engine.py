"""The streaming attention engine: queries stay, keys and values stream past, no state grows with their number."""

from functools import partial, reduce
from operator import and_

from amaranth.hdl import Array, Const, Module, Mux, Shape, Signal, Value, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.banks import of_bank
from tilewright.rtl.attention.bias_table import Bias, BiasTable
from tilewright.rtl.attention.cache_layout import CacheSize, place_layout
from tilewright.rtl.attention.cache_memory import READ_LATENCY
from tilewright.rtl.attention.frame_reader import FrameReader
from tilewright.rtl.attention.key_timing import key_timing
from tilewright.rtl.attention.normalize_rows import SCALE_BITS, NormalizeRows
from tilewright.rtl.attention.normalize_tiles import NormalizeTiles
from tilewright.rtl.attention.query_loader import QueryLoader
from tilewright.rtl.attention.rotary import Rotary, Turns
from tilewright.rtl.attention.row_cache import RowCache
from tilewright.rtl.attention.score_row import ScoreRow, sum_latency
from tilewright.rtl.attention.score_sequencer import ScoreSequencer
from tilewright.rtl.attention.softmax import Softmax
from tilewright.rtl.attention.sources import Source, cached, continues_sequence, leads, make_caches, share_banks, streamed
from tilewright.rtl.attention.tile_answer import ANSWER, answer_at_once, answer_with_producer, broken_jobs
from tilewright.rtl.attention.tile_loader import TileLoader
from tilewright.rtl.attention.tile_walker import Mask, TileWalker
from tilewright.rtl.attention.value_row import ValueRow
from tilewright.rtl.attention.value_sequencer import ValueSequencer
from tilewright.rtl.attention.weights import MULTIPLIER_BITS, SCALED, scale_latency
from tilewright.rtl.delay import delayed
from tilewright.rtl.hierarchy import shared

COUNTERS = ("counter_cycles", "counter_active", "counter_input_stall", "counter_output_stall")
ERRORS = {"illegal_shape": 1, "q_frame": 2, "k_frame": 3, "v_frame": 4, "cache_length": 5, "bias_frame": 6, "no_bias": 7}
JOBS_MAX = 2  # on their way at a time


class AttentionEngine(wiring.Component):
    """Softmax attention of ``kv_heads * group`` heads; what it computes to the bit is in ``tilewright.sim.golden.attention``.

    A job has ``queries`` and ``keys``, and the constants of its two scales. For each kv head its rows are the queries of
    ``group`` heads, one position after the other; ``rows`` of them make a tile, which stays while its keys and values stream
    past. Beats hold ``lanes`` elements, ``head_dim / lanes`` beats a row:

    ======  ===========================================================================
    q       per kv head, position, head of the group, chunk: the query
    k, v    per kv head, tile, key that a row of the tile sees: the key; the value. With 2 ``softmax.passes`` a tile's
            keys come twice, its values once; if it asks, those of tiles that ``again`` says so of come once more, both
    again   if ``softmax`` asks: per kv head, tile: whether its keys and values come once more, before the next tile's
    bias    per head that has a table, distance: the entry, one a beat; of jobs that load it
    result  per kv head, position, head of the group, chunk: the mean of the values
    ======  ===========================================================================

    With ``order`` "tiles" q and result come per kv head, tile, head of the group, chunk, position of the tile: for one tile the
    order of a matrix (positions, heads * head_dim) in tiles of ``lanes`` columns. ``rows`` is then a multiple of ``group``.

    With a ``cache`` k and v bring each row of a sequence once, per kv head and position of the job's queries, and tiles read
    them from the chip, also those of a tile that comes once more: there is no ``again``. A job has as many keys as queries,
    which begins a sequence, or as many more as the cache holds.

    ``last`` marks a job's final beat of each. ``done`` is high while a job's last result beat leaves, ``busy`` from the cycle
    behind a job's acceptance to that one. ``error`` keeps the last code of ``ERRORS`` until a legal job is accepted: an
    illegal job is dropped, a wrong ``last`` leaves the job's results undefined, and the engine stays usable. The counters run
    while ``busy`` is high and start anew when it rises: busy cycles; steps of the scores; cycles in which keys, queries,
    values or a bias were waited for; cycles in which a result was not taken.

    With a bias a job has a bit ``load_bias``. Such a job begins when those before it are done; its bias counts for the jobs
    behind it, too. One without it before any bias was loaded is refused.

    Cycles: see ``tilewright.families.attention.cycles``, which equals ``counter_cycles`` when no port stalls.

    References: the one pass over the keys is that of Milakov and Gimelshein, "Online normalizer calculation for softmax",
    2018, as published or with exponentials as in Dukhan and Ablavatski, "Two-Pass Softmax Algorithm", 2020; division behind the
    values and the loop over query tiles are those of Dao, "FlashAttention-2", 2023.

    Parameters
    ----------
    rows, lanes, chunks : queries in a tile, elements in a beat, beats in a row
    group, kv_heads : query heads per kv head, and how many kv heads a job has
    query, key, value, out : Shape of the elements, signed
    score_width : bits of a dot product
    softmax : what a key weighs
    mask : which keys a query sees
    limits : (queries, keys)       order : "rows" or "tiles"       target : "generic" or "ecp5"
    bias : the table of what joins a scaled score, or None
    rotary : how positions, or places among the keys that are seen, turn queries and keys, or None
    cache : of keys and of values, or None
    """

    def __init__(self, *, rows: int, lanes: int, chunks: int, group: int, kv_heads: int, query: Shape, key: Shape, value: Shape,
                 out: Shape, score_width: int, softmax: Softmax, mask: Mask, limits: tuple[int, int], order: str = "rows",
                 bias: Bias | None = None, rotary: Turns | None = None, cache: CacheSize | None = None,
                 target: str = "generic") -> None:
        self.rows = rows
        self.lanes = lanes
        self.chunks = chunks
        self.group = group
        self.kv_heads = kv_heads
        self.elements = {"q": query, "k": key, "v": value}
        self.mask = mask
        self.limits = limits
        self.order = order
        self.cache = cache
        self.lag = READ_LATENCY if cache else 0  # of what is read behind its step
        self.leads = leads(caches=cache is not None, turns=rotary, keys_max=limits[1])
        self.lead = self.leads.keys
        self.target = target
        self.score_width = score_width
        self.softmax = softmax
        self.rotary = rotary
        self.weights = softmax.weights(rows=rows, score_width=score_width, value_width=value.width, biased=bias is not None,
                                       target=target)
        self.timing = key_timing(softmax=softmax, lanes=lanes, rows=rows, chunks=chunks, score_width=score_width,
                                 biased=bias is not None, cached=cache is not None, lead=self.lead)
        self.bias_table = bias and BiasTable(bias=bias, rows=rows, group=group, keys_max=limits[1],
                                             latency=scale_latency(score_width))
        normalizer = partial(NormalizeTiles, group=group) if order == "tiles" else NormalizeRows
        self.normalize: NormalizeRows = normalizer(
            rows=rows, lanes=lanes, chunks=chunks, total_width=softmax.total_width, value_width=value.width, out=out,
            clamps=softmax.clamps, target=target)
        queries, keys = limits
        job = data.StructLayout({"queries": range(queries + 1), "keys": range(keys + 1), "score_multiplier": MULTIPLIER_BITS,
                                 "score_shift": 6, "out_scale": SCALE_BITS, **({"load_bias": 1} if bias else {})})
        members: dict[str, wiring.Member] = {"job": In(stream.Signature(job))}
        for name, shape in self.elements.items():
            members[name] = In(stream.Signature(data.StructLayout({"data": data.ArrayLayout(shape, lanes), "last": 1})))
        if bias:
            members["bias"] = In(stream.Signature(data.StructLayout({"data": SCALED, "last": 1})))
        if softmax.asks and not cache:
            members["again"] = Out(stream.Signature(ANSWER))
        members |= {"result": Out(self.normalize.result.signature), "busy": Out(1), "done": Out(1), "error": Out(4)}
        members |= {name: Out(32) for name in COUNTERS}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        table = self.bias_table
        readers = {name: FrameReader(data.ArrayLayout(shape, self.lanes)) for name, shape in self.elements.items()}
        if table:
            readers["bias"] = FrameReader(SCALED)
        for name, reader in readers.items():
            m.submodules[f"{name}_reader"] = reader
            wiring.connect(m, wiring.flipped(getattr(self, name)), reader.beats)
        place = place_layout(kv_heads=self.kv_heads, keys_max=self.limits[1]) if self.cache else None
        own_bias = table.bias if table and table.bias.heads > 1 else None  # of each head
        m.submodules.loader = loader = self._loader()
        m.submodules.walker = walker = TileWalker(rows=self.rows, group=self.group, kv_heads=self.kv_heads, mask=self.mask,
                                                  queries_max=self.limits[0], keys_max=self.limits[1],
                                                  bias_entries=own_bias.entries if own_bias else 0,
                                                  tells_head=self.cache is not None)
        m.submodules.sequencer = sequencer = ScoreSequencer(
            rows=self.rows, group=self.group, chunks=self.chunks, interval=self.timing.interval, mask=self.mask,
            keys_max=self.limits[1], passes=self.softmax.passes, asks=self.softmax.asks, biased=table is not None,
            bias_words=own_bias.words if own_bias else 0, indexed=self.rotary is not None or self.cache is not None,
            places=self.rotary.places if self.rotary else 0, kv_heads=self.kv_heads if self.cache else 1, place=place)
        m.submodules.value_sequencer = values = ValueSequencer(
            rows=self.rows, chunks=self.chunks, slots=self.timing.slots, loop=self.timing.loop,
            settling=self.timing.settling + self.lag, place=place, repeats=self.softmax.asks)
        caches = self._caches(m)
        accepted, refusal, constants, job = self._jobs(m, loader, walker, caches)
        keys, rows = (self._source(m, name, readers[name], caches, reader, accepted, job)
                      for name, reader in (("k", sequencer), ("v", values)))
        share_banks(m, loader, sequencer, self.leads)
        m.d.comb += [
            readers["q"].step.eq(loader.step), readers["q"].final.eq(loader.final), loader.available.eq(readers["q"].available),
            sequencer.tile_available.eq(walker.available & ~table.loading if table else walker.available),
            sequencer.tile.eq(walker.tile), walker.next.eq(sequencer.tile_next),
            sequencer.job.eq(job), sequencer.available.eq(keys.available), sequencer.room.eq(values.room),
            values.open.eq(sequencer.open), values.key.eq(sequencer.key), values.available.eq(rows.available)]
        if table:
            self._bias(m, table, sequencer, readers["bias"], accepted)
        self._scores(m, loader, sequencer, readers["q"], keys)
        self._weigh(m, sequencer, values, constants)
        if self.softmax.asks:
            self._ask(m, sequencer, values, readers, accepted, job)
        self._values(m, values, rows)
        self._normalize(m, values, constants)
        self._status(m, accepted, refusal, sequencer, values, readers)
        return m

    def _loader(self) -> QueryLoader | TileLoader:
        positions = self.limits[1] if self.rotary else 0
        if self.order == "tiles":
            return TileLoader(rows=self.rows, group=self.group, chunks=self.chunks, kv_heads=self.kv_heads,
                              queries_max=self.limits[0], positions=positions)
        return QueryLoader(rows=self.rows, chunks=self.chunks, kv_heads=self.kv_heads, rows_max=self.limits[0] * self.group,
                           group=self.group, positions=positions)

    def _caches(self, m: Module) -> dict[str, RowCache]:
        if self.cache is None:
            return {}
        caches = make_caches(
            self.cache, kv_heads=self.kv_heads, chunks=self.chunks, lanes=self.lanes, elements=self.elements,
            keys_max=self.limits[1], mask=self.mask, rows=self.rows, group=self.group, jobs_max=JOBS_MAX,
            key_lead=self.leads.stored)
        m.submodules.k_cache, m.submodules.v_cache = caches["k"], caches["v"]
        return caches

    def _source(self, m: Module, name: str, reader: FrameReader, caches: dict[str, RowCache],
                sequencer: ScoreSequencer | ValueSequencer, accepted: Value, job: Value) -> Source:
        """Where a sequencer has its rows from; keys are turned on their way there, by their positions before a cache."""
        turns = self.rotary if name == "k" else None
        beat = reader.data
        if caches and turns and not turns.places:
            beat = self._turned(m, name, beat, caches[name].key, caches[name].chunk)
        if caches:
            source = cached(m, caches[name], reader, sequencer, take=accepted, job=self.job.payload, newest=job, beat=beat)
        else:
            source = streamed(m, reader, sequencer)
        if turns and (turns.places or not caches):
            index, chunk = (delayed(m, getattr(sequencer, told), self.lag, f"turned_{told}") for told in ("index", "chunk"))
            return Source(source.available, self._turned(m, name, source.data, index, chunk))
        return source

    def _jobs(self, m: Module, loader: QueryLoader | TileLoader, walker: TileWalker, caches: dict[str, RowCache],
              ) -> tuple[Value, Value, dict[str, Array], Value]:
        """Check the job at the port, then hand it to loader, walker and caches when all are idle.

        Returns whether one is accepted, the code of one that is refused, the constants of the jobs on their way by the
        job's parity, and the parity of the newest.
        """
        job = self.job.payload
        accepted, refused, checked, legal, fits = Signal(), Signal(), Signal(), Signal(), Signal()
        parity = Signal()
        running = Signal(range(JOBS_MAX + 1))
        queries_max, keys_max = self.limits
        shape = (job.queries != 0) & (job.keys != 0) & (job.queries <= queries_max) & (job.keys <= keys_max)
        waits: Value = Const(0, 1)  # for the jobs before it
        usable: Value = Const(1, 1)
        if self.bias_table:
            waits, usable = job.load_bias & (running != 0), job.load_bias | self.bias_table.held
        if self.rotary:
            m.d.comb += loader.position_in.eq(job.keys - job.queries)
        if self.mask.needs_positions or self.bias_table or self.rotary or caches:
            shape &= job.queries <= job.keys
        continues = continues_sequence(m, job, accepted) if caches else Const(1, 1)
        idle = reduce(and_, (part.idle for part in (loader, walker, *caches.values())))
        m.d.comb += [
            accepted.eq(checked & legal & continues & idle & (running != JOBS_MAX) & ~waits),
            refused.eq(checked & ~(legal & continues)), self.job.ready.eq(accepted | refused), loader.take.eq(accepted),
            walker.take.eq(accepted), walker.queries.eq(job.queries), walker.keys.eq(job.keys)]
        m.d.sync += [checked.eq(self.job.valid & ~self.job.ready), legal.eq(shape & usable), fits.eq(shape),
                     running.eq(running + accepted - self.done)]
        if isinstance(loader, TileLoader):
            m.d.comb += loader.queries.eq(job.queries)
        else:
            rows = Signal.like(loader.rows_in)
            m.d.comb += loader.rows_in.eq(rows)
            m.d.sync += rows.eq(job.queries * self.group)
        constants = {}
        for name in ("score_multiplier", "score_shift", "out_scale"):
            kept = Array(Signal.like(job[name], name=f"{name}_{k}", reset_less=True) for k in range(JOBS_MAX))
            with m.If(accepted):
                m.d.sync += kept[~parity].eq(job[name])
            constants[name] = kept
        with m.If(accepted):
            m.d.sync += parity.eq(~parity)
        between = Signal()  # a job that waited for the one before is accepted: the engine has not been idle
        if self.bias_table:
            m.d.sync += between.eq(checked & legal & continues & waits)
        m.d.comb += self.busy.eq((running != 0) | between)
        reason: ValueLike = ERRORS["no_bias"]
        if caches:
            reason = Mux(continues, reason, ERRORS["cache_length"])
        reason = Mux(fits, reason, ERRORS["illegal_shape"]) if self.bias_table or caches else ERRORS["illegal_shape"]
        return accepted, Mux(refused, reason, 0), constants, parity

    def _bias(self, m: Module, table: BiasTable, sequencer: ScoreSequencer, reader: FrameReader, accepted: Value) -> None:
        """The table, filled before a job's first tile and read with the turns of a key's rows."""
        m.submodules.bias = table
        latency = self.lead + sum_latency(self.lanes) + 1
        m.d.comb += [
            table.take.eq(accepted & self.job.payload.load_bias), table.available.eq(reader.available),
            table.entry.eq(reader.data), reader.step.eq(table.step), reader.final.eq(table.final),
            table.valid.eq(self.weights.valid),
            table.ahead.eq(delayed(m, sequencer.ahead, latency, "ahead")),
            self.weights.added.eq(table.added)]
        if table.bias.heads > 1:
            m.d.comb += table.base.eq(delayed(m, sequencer.base, latency, "base"))

    def _bias_waits(self, readers: dict[str, FrameReader]) -> Value:
        return self.bias_table.loading & ~readers["bias"].available if self.bias_table else Const(0, 1)

    def _scores(self, m: Module, loader: QueryLoader | TileLoader, sequencer: ScoreSequencer, reader: FrameReader,
                keys: Source) -> None:
        query, key = reader.data, keys.data
        if self.rotary:
            query = self._turned(m, "q", query, self.rotary.bounded(loader.position), loader.chunk)
        write = delayed(m, loader.write, self.leads.queries, "write", reset=True)
        write_address = delayed(m, loader.write_address, self.leads.queries, "write_address")
        read_address = delayed(m, sequencer.read_address, self.lead, "read_address")
        latency = self.lead + sum_latency(self.lanes)
        accumulate = delayed(m, sequencer.step, latency, "accumulate", reset=True)
        first = delayed(m, sequencer.begins, latency, "begins")
        for k in range(self.rows):
            row = shared(lambda: ScoreRow(
                lanes=self.lanes, chunks=self.chunks, query=self.elements["q"], key=self.elements["k"],
                score_width=self.score_width, target=self.target), "score_row")
            m.submodules[f"score_row_{k}"] = row
            m.d.comb += [
                row.write.eq(write[k]), row.write_address.eq(write_address), row.write_data.eq(query),
                row.read_address.eq(read_address), row.key.eq(key), row.accumulate.eq(accumulate), row.first.eq(first),
                self.weights.scores[k].eq(row.score)]

    def _turned(self, m: Module, name: str, elements: data.View, position: Value, chunk: Value) -> data.View:
        assert self.rotary is not None
        m.submodules[f"rotary_{name}"] = rotary = Rotary(
            shape=self.elements[name], lanes=self.lanes, positions=self.rotary.positions(self.limits[1]), turns=self.rotary,
            target=self.target)
        m.d.comb += [rotary.data.eq(elements), rotary.position.eq(position), rotary.chunk.eq(chunk)]
        return rotary.turned

    def _weigh(self, m: Module, sequencer: ScoreSequencer, values: ValueSequencer, constants: dict[str, Array]) -> None:
        weights = self.weights
        m.submodules.weights = weights
        latency = self.lead + sum_latency(self.lanes) + 1
        key = data.View(sequencer.key.shape(), delayed(m, sequencer.key.as_value(), latency, "key"))
        m.d.comb += [
            weights.valid.eq(delayed(m, sequencer.ends, latency, "ends", reset=True)), weights.visible.eq(key.visible),
            weights.first.eq(delayed(m, sequencer.first, latency, "first") if self.softmax.asks else key.first),
            weights.multiplier.eq(constants["score_multiplier"][key.job]),
            weights.shift.eq(constants["score_shift"][key.job]), values.weighed.eq(weights.offer[-1])]
        if self.softmax.passes == 2 or self.softmax.asks:
            m.d.comb += weights.second.eq(delayed(m, sequencer.second, latency, "second"))

    def _ask(self, m: Module, sequencer: ScoreSequencer, values: ValueSequencer, readers: dict[str, FrameReader],
             accepted: Value, newest: Value) -> None:
        """Whether a tile comes once more: from the caches, or from its producer."""
        weights = self.weights
        m.d.comb += weights.asks.eq(delayed(m, sequencer.asking, self.lead + sum_latency(self.lanes) + 1, "asking"))
        if self.cache:
            answer_at_once(m, weights, sequencer, values)
            return
        loads = readers["q"].error | (readers["bias"].error if "bias" in readers else 0)
        broken = broken_jobs(
            m, loads=loads, keys=readers["k"].error, accepted=accepted, newest=newest, at_work=sequencer.key.job)
        answer_with_producer(m, self.again, weights, sequencer, values, broken)

    def _values(self, m: Module, values: ValueSequencer, source: Source) -> None:
        """A row each; weights come to the slots in the keys' order, row by row."""
        normalize, weights = self.normalize, self.weights
        slot = Signal(range(self.timing.slots))
        with m.If(weights.offer[-1]):
            m.d.sync += slot.eq(slot + 1)
        stepping = {name: delayed(m, getattr(values, name), self.lag, f"values_{name}", reset=name == "step")
                    for name in ("step", "slot", "first", "close", "bank", "chunk")}
        totals, sums = [], []
        for k in range(self.rows):
            row = shared(lambda: ValueRow(
                lanes=self.lanes, chunks=self.chunks, value=self.elements["v"], weights=weights.entry.shape(),
                rescale=weights.rescale, slots=self.timing.slots, target=self.target), "value_row")
            m.submodules[f"value_row_{k}"] = row
            m.d.comb += [
                row.write.eq(weights.offer[k]), row.write_slot.eq(slot), row.entry.eq(weights.entry),
                row.values.eq(source.data), row.owned.eq(values.owned),
                *(getattr(row, name).eq(value) for name, value in stepping.items()),
                *(getattr(row, name).eq(getattr(normalize, name)) for name in ("read_chunk", "word_bank"))]
            totals.append(of_bank(normalize.divide_bank, row.totals))
            sums.append(row.sums.as_value())
        m.d.comb += [normalize.total.eq(Array(totals)[normalize.divide_row]),
                     normalize.sums.as_value().eq(Array(sums)[normalize.word_row])]

    def _normalize(self, m: Module, values: ValueSequencer, constants: dict[str, Array]) -> None:
        normalize = self.normalize
        m.submodules.normalize = normalize
        wiring.connect(m, normalize.result, wiring.flipped(self.result))
        m.d.comb += [normalize.owned.eq(values.owned), normalize.ends.eq(values.ends), values.release.eq(normalize.release),
                     normalize.scale.eq(constants["out_scale"][normalize.divide_job])]

    def _status(self, m: Module, accepted: Value, refusal: Value, sequencer: ScoreSequencer, values: ValueSequencer,
                readers: dict[str, FrameReader]) -> None:
        m.d.comb += self.done.eq(self.result.valid & self.result.ready & self.result.payload.last)
        with m.If(accepted):
            m.d.sync += self.error.eq(0)
        for name, reader in readers.items():
            with m.If(reader.error):
                m.d.sync += self.error.eq(ERRORS[f"{name}_frame"])
        with m.If(refusal != 0):
            m.d.sync += self.error.eq(refusal)
        before = Signal()  # busy in the cycle before
        m.d.sync += before.eq(self.busy)
        counted = {"counter_cycles": self.busy, "counter_active": sequencer.step,
                   "counter_input_stall": sequencer.waits | values.waits | self._bias_waits(readers),
                   "counter_output_stall": self.result.valid & ~self.result.ready}
        for name, counts in counted.items():
            counter = getattr(self, name)
            with m.If(self.busy & ~before):
                m.d.sync += counter.eq(counts)
            with m.Elif(self.busy & counts):
                m.d.sync += counter.eq(counter + 1)
