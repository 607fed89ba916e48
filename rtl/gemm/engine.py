"""The GEMM engine: streams in, systolic array, streams out."""

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.delay import delayed
from tilewright.rtl.gemm.accumulator import ACCUMULATE_LATENCY, SUM_LEAD, AccumulatorLane
from tilewright.rtl.gemm.array import DRAIN_LATENCY, OutputStationaryArray, StationaryOperandArray, lane
from tilewright.rtl.gemm.channels import ChannelLoader, channel_layout, stored_layout
from tilewright.rtl.gemm.operand_buffer import READ_LATENCY, OperandBuffer
from tilewright.rtl.gemm.result_path import CHANNEL_LATENCY, ResultPath
from tilewright.rtl.gemm.sequencer import OutputStationarySequencer, ceil_div
from tilewright.rtl.gemm.stationary_sequencer import StationarySequencer
from tilewright.rtl.hierarchy import shared
from tilewright.rtl.requantize import Requantize

DATAFLOWS = ("output_stationary", "weight_stationary", "input_stationary")
ERRORS = {"none": 0, "illegal_shape": 1, "weights_not_resident": 2, "act_frame": 3, "weight_frame": 4}
COUNTERS = ("counter_cycles", "counter_active", "counter_input_stall", "counter_output_stall")


class GemmEngine(wiring.Component):
    """``result = requantize(act @ weight + bias)`` for any shape up to ``limits``, job after job.

    A job is offered on ``job`` and is taken when its first step is near; while it waits there, its
    operands already load. ``act``, ``weight`` and ``channel`` carry the job's matrices in the order of the
    array's tiles, ``result`` its rows:

    =================  ==============================  =============================  ===========================
    dataflow           act beat                        weight beat                    result beat
    =================  ==============================  =============================  ===========================
    output_stationary  per m tile, k: rows of A        per n tile, k: columns of B    per m tile, n tile, m
    weight_stationary  per k tile, m: columns of A     per n tile, k: columns of B    per n tile, m
    input_stationary   per m tile, k: rows of A        per k tile, n: rows of B       per m tile, n: a column of C
    =================  ==============================  =============================  ===========================

    ``channel`` has one beat per column n. With ``reuse_weights`` a job sends neither weights nor channels: it
    uses those of the job before, whose n and k it must repeat. ``done`` is high while a job's last result beat leaves.
    ``busy`` is high for as many cycles as there are from the one in which a job's first beat may enter to that one,
    and begins and ends one cycle later. ``error`` keeps the
    last code of ``ERRORS`` until a legal job is accepted: an illegal job is dropped, a wrong ``last`` leaves
    the job's results undefined, and the engine stays usable. The counters run while ``busy`` is high and
    start anew when it rises. They count busy cycles, steps, and steps put off for want of operands and
    for want of room at ``result``.

    Cycles: see ``tilewright.families.gemm.cycles``, which equals ``counter_cycles`` when no port stalls.

    Parameters
    ----------
    rows, cols : array size        dataflow : one of DATAFLOWS        pe_pipeline : 1 to 3
    act, weight : Shape of the elements; ``act_operand``, ``weight_operand``: less a zero point where
        ``act_zero_point``, ``weight_zero_point`` say that jobs bring one
    acc_width, overflow : the accumulator, "exact", "wrap" or "saturate"
    requant : rounding mode, or None for accumulators as results; out, multiplier_bits, activation with it
    limits : (m, n, k)             target : "generic" or "ecp5"
    """

    def __init__(self, *, rows: int, cols: int, dataflow: str, act: Shape, weight: Shape, act_operand: Shape,
                 weight_operand: Shape, act_zero_point: bool, weight_zero_point: bool, acc_width: int,
                 overflow: str, requant: str | None, out: Shape, multiplier_bits: int, activation: str,
                 limits: tuple[int, int, int], pe_pipeline: int = 2, target: str = "generic") -> None:
        if dataflow not in DATAFLOWS:
            raise ValueError(f"dataflow must be one of {', '.join(DATAFLOWS)}, not {dataflow!r}")
        self.rows = rows
        self.cols = cols
        self.dataflow = dataflow
        self.act_operand = act_operand
        self.weight_operand = weight_operand
        self.acc_width = acc_width
        self.overflow = overflow
        self.requant = requant
        self.multiplier_bits = multiplier_bits
        self.activation = activation
        self.limits = limits
        self.pe_pipeline = pe_pipeline
        self.target = target
        self.out = out if requant else signed(acc_width)
        self.zero_points = {"act": act_zero_point, "weight": weight_zero_point}
        self.elements = {"act": act, "weight": weight}
        serial = dataflow == "output_stationary"
        self.lanes = {"act": cols if dataflow == "input_stationary" else rows,
                      "weight": rows if dataflow == "input_stationary" else cols}
        # Room for every row that can be on its way when the stream takes a row in every cycle.
        self.credits = 1 << ((4 if serial else 1) * rows + cols + 26 - 1).bit_length()
        self.jobs_max = self.credits + 4  # every job on its way has a row there, or waits for its first
        self.channel_layout = channel_layout(out=self.out, multiplier_bits=multiplier_bits, clip=activation == "clip")
        m, n, k = limits
        job: dict[str, object] = {"m": range(m + 1), "n": range(n + 1), "k": range(k + 1), "reuse_weights": 1}
        job |= {f"{name}_zero_point": self.elements[name] for name, used in self.zero_points.items() if used}
        members: dict[str, wiring.Member] = {"job": In(stream.Signature(data.StructLayout(job)))}
        for name in ("act", "weight"):
            layout = data.StructLayout({"data": data.ArrayLayout(self.elements[name], self.lanes[name]), "last": 1})
            members[name] = In(stream.Signature(layout))
        if requant:
            members["channel"] = In(stream.Signature(self.channel_layout))
        result = data.StructLayout({"data": data.ArrayLayout(self.out, cols), "keep": cols, "last": 1})
        members |= {"result": Out(stream.Signature(result)), "busy": Out(1), "done": Out(1), "error": Out(4)}
        members |= {name: Out(32) for name in COUNTERS}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        buffers = {name: self._buffer(name) for name in ("act", "weight")}
        for name, buffer in buffers.items():
            m.submodules[f"{name}_buffer"] = buffer
            self._connect_beats(m, name, buffer)
        if self.dataflow == "output_stationary":
            sequencer, path = self._output_stationary(m, buffers)
        else:
            sequencer, path = self._stationary_operand(m, buffers)
        channels = self._channels(m, sequencer, path)
        wiring.connect(m, path.result, wiring.flipped(self.result))
        accepted, refusal, loading = self._dispatch(m, buffers, sequencer, channels)
        self._status(m, sequencer, accepted, refusal, loading["act"], [
            (ERRORS[f"{name}_frame"], buffer.error, loading[name]) for name, buffer in buffers.items()])
        m.d.comb += sequencer.credit_returned.eq(self.result.valid & self.result.ready)
        return m

    def _connect_beats(self, m: Module, name: str, buffer: OperandBuffer) -> None:
        """Lane i of the stream feeds row or column i, but for an operand that moves: its first element
        belongs to the bottom row, where the first pushed operand ends."""
        beats = getattr(self, name)
        moves = self.dataflow == {"act": "weight_stationary", "weight": "input_stationary"}[name]
        m.d.comb += [buffer.beats.valid.eq(beats.valid), beats.ready.eq(buffer.beats.ready),
                     buffer.beats.payload.last.eq(beats.payload.last)]
        for i in range(buffer.lanes):
            source = buffer.lanes - 1 - i if moves else i
            m.d.comb += buffer.beats.payload.data[i].eq(beats.payload.data[source])

    def _buffer(self, name: str) -> OperandBuffer:
        """Which window an operand has, how it is counted, and whether it stays for the next job."""
        m, n, k = self.limits
        rows, cols = self.rows, self.cols
        window_max, inner_max, outer_max, stride = {
            ("output_stationary", "act"): (k, k, m, rows),
            ("output_stationary", "weight"): (ceil_div(n, cols) * k, k, n, cols),
            ("weight_stationary", "act"): (ceil_div(k, rows) * m, m, k, rows),
            ("weight_stationary", "weight"): (ceil_div(n, cols) * k, k, n, cols),
            ("input_stationary", "act"): (k, k, m, cols),
            ("input_stationary", "weight"): (ceil_div(k, rows) * n, n, k, rows),
        }[self.dataflow, name]
        return OperandBuffer(
            lanes=self.lanes[name], element=self.elements[name],
            operand=self.act_operand if name == "act" else self.weight_operand,
            zero_point=self.zero_points[name], resident=name == "weight", window_max=window_max,
            inner_max=inner_max, outer_max=outer_max, stride=stride, name=name,
            # Bubbles that move make no sum, or one that nobody takes; what is held must be zero where k ends.
            gated=(self.dataflow, name) in (("weight_stationary", "weight"), ("input_stationary", "act")))

    def _path(self, *, acc_width: int, split: bool, groups: int) -> ResultPath:
        def requantize() -> Requantize:
            assert self.requant is not None
            return Requantize(acc_width=acc_width, out_shape=self.out, mode=self.requant, split=split,
                              activation=self.activation, prescale=False, multiplier_bits=self.multiplier_bits,
                              target=self.target)

        return ResultPath(
            cols=self.cols, acc_width=acc_width, out=self.out, split=split,
            broadcast=self.dataflow == "input_stationary", credits=self.credits,
            channel=stored_layout(self.channel_layout), channel_groups=groups, requantize=requantize if self.requant else None,
            target=self.target)

    def _connect_passes(self, m: Module, buffers: dict[str, OperandBuffer], sequencer: wiring.Component,
                        prefixes: dict[str, str]) -> None:
        for name, buffer in buffers.items():
            prefix = prefixes[name]
            m.d.comb += [getattr(sequencer, f"{prefix}_available").eq(buffer.available)]
            m.d.comb += [getattr(buffer, end).eq(getattr(sequencer, f"{prefix}_{end}"))
                         for end in ("step", "first_pass", "last_pass", "end_pass")]

    def _output_stationary(self, m: Module, buffers: dict[str, OperandBuffer],
                           ) -> tuple[OutputStationarySequencer, ResultPath]:
        sequencer = OutputStationarySequencer(rows=self.rows, cols=self.cols, limits=self.limits, credits=self.credits)
        array = OutputStationaryArray(
            rows=self.rows, cols=self.cols, act_shape=self.act_operand, weight_shape=self.weight_operand,
            acc_width=self.acc_width, overflow=self.overflow, pipeline=self.pe_pipeline, target=self.target)
        path = self._path(acc_width=self.acc_width, split=True, groups=sequencer.channel_groups)
        m.submodules.sequencer = sequencer
        m.submodules.array = array
        m.submodules.result_path = path
        self._connect_passes(m, buffers, sequencer, {"act": "act", "weight": "weight"})
        # Operands meet in PE (0, 0) READ_LATENCY cycles behind their step; their product and its flags are there
        # pe_pipeline cycles later, and the sum is finished one cycle behind its last product, as `done` is behind the step.
        to_product = READ_LATENCY + self.pe_pipeline
        m.d.comb += [
            array.acts.eq(buffers["act"].operands), array.weights.eq(buffers["weight"].operands),
            array.valid.eq(delayed(m, sequencer.stepping, to_product, "valid")),
            array.first.eq(delayed(m, sequencer.first, to_product, "first")),
            array.done.eq(delayed(m, sequencer.done, to_product, "done", reset=True)), path.sums.eq(array.sums)]
        self._name_rows(m, sequencer, path, to_product + DRAIN_LATENCY - CHANNEL_LATENCY)
        return sequencer, path

    def _stationary_operand(self, m: Module, buffers: dict[str, OperandBuffer],
                            ) -> tuple[StationarySequencer, ResultPath]:
        held_is_act = self.dataflow == "input_stationary"
        held, moving = ("act", "weight") if held_is_act else ("weight", "act")
        shapes = {"act": self.act_operand, "weight": self.weight_operand}
        sequencer = StationarySequencer(rows=self.rows, cols=self.cols, limits=self.limits, credits=self.credits,
                                        held_is_act=held_is_act)
        product_width = sum(s.width + (not s.signed) for s in shapes.values())
        exact_width = product_width + (self.rows - 1).bit_length()
        sum_width = min(exact_width, self.acc_width)
        array = StationaryOperandArray(
            rows=self.rows, cols=self.cols, moving_shape=shapes[moving], held_shape=shapes[held], sum_width=sum_width,
            overflow=self.overflow, pipeline=self.pe_pipeline, target=self.target)
        path = self._path(acc_width=self.acc_width, split=False, groups=sequencer.channel_groups)
        m.submodules.sequencer = sequencer
        m.submodules.array = array
        m.submodules.result_path = path
        self._connect_passes(m, buffers, sequencer, {held: "held", moving: "moving"})
        for name in ("swap", "push", "push_last"):
            m.d.comb += getattr(array, name).eq(delayed(m, getattr(sequencer, name), READ_LATENCY, name, reset=True))
        m.d.comb += [array.moving.eq(buffers[moving].operands), array.held.eq(buffers[held].operands)]
        self._accumulators(m, sequencer, array, path, sum_width)
        return sequencer, path

    def _accumulators(self, m: Module, sequencer: StationarySequencer, array: StationaryOperandArray, path: ResultPath,
                      sum_width: int) -> None:
        to_sums = READ_LATENCY + self.rows + self.pe_pipeline
        chain: dict[str, Value] = {
            name: delayed(m, getattr(sequencer, f"sum_{name}"), to_sums - SUM_LEAD, f"sum_{name}")
            for name in ("address", "valid", "first", "last")}

        def make_accumulator() -> AccumulatorLane:
            return AccumulatorLane(depth=sequencer.vectors_max, sum_width=sum_width, acc_width=self.acc_width,
                                   overflow=self.overflow)

        for i in range(self.cols):
            accumulator = shared(make_accumulator, "accumulator")
            m.submodules[f"accumulator_{i}"] = accumulator
            m.d.comb += [getattr(accumulator, name).eq(value) for name, value in chain.items()]
            m.d.comb += [accumulator.sum.eq(lane(array.sums, i, sum_width).as_signed()),
                         lane(path.sums, i, self.acc_width).eq(accumulator.total)]
            chain = {name: getattr(accumulator, f"next_{name}") for name in chain}
        self._name_rows(m, sequencer, path, to_sums - SUM_LEAD + ACCUMULATE_LATENCY - CHANNEL_LATENCY)

    def _name_rows(self, m: Module, sequencer: wiring.Component, path: ResultPath, cycles: int) -> None:
        m.d.comb += [
            path.rows_valid.eq(delayed(m, sequencer.rows_valid, cycles, "rows_valid", reset=True)),
            path.rows.as_value().eq(delayed(m, sequencer.rows_out.as_value(), cycles, "rows"))]

    def _channels(self, m: Module, sequencer: wiring.Component, path: ResultPath) -> ChannelLoader | None:
        if not self.requant:
            m.d.comb += sequencer.channel_available.eq(1)
            return None
        lanes = 1 if self.dataflow == "input_stationary" else self.cols
        loader = ChannelLoader(lanes=lanes, channels_max=self.limits[1], groups=sequencer.channel_groups,
                               layout=self.channel_layout, jobs_max=self.jobs_max)
        m.submodules.channel_loader = loader
        wiring.connect(m, wiring.flipped(self.channel), loader.beats)
        m.d.comb += [
            sequencer.channel_available.eq(loader.available), loader.used.eq(sequencer.channel_used),
            path.channel_write.eq(loader.write), path.channel_address.eq(loader.write_address),
            path.channel_data.eq(loader.write_data),
            loader.closed.eq(path.closed), loader.closed_bank.eq(path.closed_bank)]
        return loader

    def _dispatch(self, m: Module, buffers: dict[str, OperandBuffer], sequencer: wiring.Component,
                  channels: ChannelLoader | None) -> tuple[Value, Value, dict[str, Value]]:
        """Hand the offered job to each part when that part is free; the job is accepted behind the last one.

        Returns whether a job is accepted, the code of one that is refused, and which operands of a job not yet
        accepted have begun to load.
        """
        job = self.job.payload
        accepted = Signal()
        offered = Signal()
        offers = Signal()
        refused = Signal()
        refusal = Signal(4)
        code = self._objection(m, accepted, buffers["weight"].error)
        settling = self.job.valid & ~refused & ~offered
        m.d.comb += [offers.eq(settling & (code == 0)), self.job.ready.eq(accepted | refused)]
        m.d.sync += [offered.eq(offers | (offered & ~accepted)), refused.eq(settling & (code != 0)),
                     refusal.eq(Mux(settling, code, 0))]
        new_weights = ~job.reuse_weights
        missing: list[Value] = []

        def part(name: str, takes_it: Value, needed: Value | int = 1) -> Signal:
            """High from when the job is offered until the part takes it, if the part is ``needed``."""
            wanted = Signal(name=f"{name}_wanted")
            missing.append(wanted)
            m.d.sync += wanted.eq((offers & needed) | (wanted & ~takes_it))
            return wanted

        act_wanted = part("act", buffers["act"].take)
        weight_wanted = part("weight", buffers["weight"].take, new_weights)
        m.d.comb += [buffers["act"].wanted.eq(act_wanted), buffers["weight"].wanted.eq(weight_wanted)]

        def reader(name: str, takes: Value, took: Value, may_take: Value, reads_weights: bool) -> None:
            wanted = part(name, took)
            m.d.comb += may_take.eq(wanted)
            if reads_weights:
                # It turns to new weights when they have begun to load: its turn frees the other bank.
                m.d.comb += [may_take.eq(wanted & ~weight_wanted), buffers["weight"].turning.eq(takes),
                             buffers["weight"].turn.eq(took), buffers["weight"].switch.eq(new_weights)]

        pushes_weights = self.dataflow == "weight_stationary"
        reader("sequencer", sequencer.takes, sequencer.took, sequencer.may_take, not pushes_weights)
        if self.dataflow != "output_stationary":
            reader("push", sequencer.push_takes, sequencer.push_took, sequencer.push_may_take, pushes_weights)
        if channels is not None:
            bank = Signal(init=1)
            opened_bank = bank ^ new_weights
            with m.If(accepted):
                m.d.sync += bank.eq(opened_bank)
            m.d.comb += [channels.wanted.eq(part("channel", channels.take, new_weights)), channels.count.eq(job.n),
                         channels.opened.eq(accepted), channels.opened_bank.eq(opened_bank)]
        m.d.comb += [accepted.eq(offered & ~Cat(*missing).any()), sequencer.m.eq(job.m), sequencer.n.eq(job.n),
                     sequencer.k.eq(job.k), sequencer.reuse.eq(job.reuse_weights)]
        for name, buffer in buffers.items():
            inner, outer = self._fill_counts(name)
            m.d.comb += [buffer.inner.eq(getattr(job, inner)),
                         buffer.outer.eq(getattr(job, outer))]
            if self.zero_points[name]:
                m.d.comb += buffer.zero_point.eq(getattr(job, f"{name}_zero_point"))
        return accepted, refusal, {"act": offered & ~act_wanted, "weight": offered & ~weight_wanted}

    def _objection(self, m: Module, accepted: Value, weight_error: Value) -> Value:
        """The error code of the job at the port, 0 if it is legal."""
        job = self.job.payload
        resident = Signal()
        resident_n = Signal.like(job.n)
        resident_k = Signal.like(job.k)
        with m.If(accepted):
            m.d.sync += [resident.eq(1), resident_n.eq(job.n), resident_k.eq(job.k)]
        with m.If(weight_error):
            m.d.sync += resident.eq(0)
        shape_legal = Signal()
        weights_legal = Signal()
        limit_m, limit_n, limit_k = self.limits
        m.d.comb += [
            shape_legal.eq((job.m != 0) & (job.n != 0) & (job.k != 0)
                           & (job.m <= limit_m) & (job.n <= limit_n) & (job.k <= limit_k)),
            weights_legal.eq(~job.reuse_weights | (resident & (job.n == resident_n) & (job.k == resident_k)))]
        return Mux(shape_legal, Mux(weights_legal, 0, ERRORS["weights_not_resident"]), ERRORS["illegal_shape"])

    def _fill_counts(self, name: str) -> tuple[str, str]:
        return {
            ("output_stationary", "act"): ("k", "m"), ("output_stationary", "weight"): ("k", "n"),
            ("weight_stationary", "act"): ("m", "k"), ("weight_stationary", "weight"): ("k", "n"),
            ("input_stationary", "act"): ("k", "m"), ("input_stationary", "weight"): ("n", "k"),
        }[self.dataflow, name]

    def _status(self, m: Module, sequencer: wiring.Component, accepted: Value, refusal: Value, begun: Value,
                frame_errors: list[tuple[int, Value, Value]]) -> None:
        # Two counters that only count up have no adder behind the late `accepted`.
        begun_jobs = Signal(range(self.jobs_max + 1))
        ended_jobs = Signal(range(self.jobs_max + 1))
        busy_next = Signal()
        restart = Signal()  # the first cycle of busy
        m.d.comb += self.done.eq(self.result.valid & self.result.ready & self.result.payload.last)
        counts = delayed(m, accepted, 1, "accepted", reset=True)
        m.d.comb += busy_next.eq((begun_jobs != ended_jobs) | begun | counts)
        m.d.sync += [self.busy.eq(busy_next), restart.eq(busy_next & ~self.busy)]
        for event, count in ((counts, begun_jobs), (self.done, ended_jobs)):
            with m.If(event):
                m.d.sync += count.eq(count + 1)
        # A frame may be wrong before its job is accepted; accepting it clears only what came from jobs before.
        early = Signal(4)
        with m.If(accepted):
            m.d.sync += [self.error.eq(early), early.eq(0)]
        for code, raised, of_next_job in frame_errors:
            with m.If(raised):
                m.d.sync += self.error.eq(code)
            with m.If(raised & of_next_job & ~accepted):
                m.d.sync += early.eq(code)
        with m.If(refusal != 0):
            m.d.sync += self.error.eq(refusal)
        # The events count a cycle late: they are off the sequencer's critical path, and over before busy falls.
        counted = {"counter_cycles": self.busy,
                   "counter_active": delayed(m, sequencer.stepping, 1, "stepping", reset=True),
                   "counter_input_stall": delayed(m, sequencer.waits_for_input, 1, "input_stall", reset=True),
                   "counter_output_stall": delayed(m, sequencer.waits_for_output, 1, "output_stall", reset=True)}
        for name, counts in counted.items():
            counter = getattr(self, name)
            with m.If(restart):
                m.d.sync += counter.eq(counts)
            with m.Elif(counts):
                m.d.sync += counter.eq(counter + 1)
