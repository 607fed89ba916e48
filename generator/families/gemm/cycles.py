"""The cycle model of the GEMM engine: when each job ends if no port ever stalls.

A walk over the tiles with the engine's own rules and no data: a job starts when the sequencer is free and its
first operands are in, a tile takes as many cycles as it has steps, and at least as many as its neighbours
in the array need to drain or to load. Equal to ``counter_cycles``, to the cycle.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

READ_LATENCY = 2      # operand memory, its output register
DRAIN_LATENCY = 1     # the register at the foot of the output-stationary drain
SUM_TO_TOTAL = 1      # the accumulators at the foot of a stationary-operand array
FIFO_LATENCY = 3      # result memory, its latch, its output register
OFFER_LATENCY = 2     # from accepting a job to handing out the next, whose shape is checked meanwhile
BEAT_TO_STEP = 2      # from taking a matrix to the step that may use its first beat
ACCUMULATE_INTERVAL = 5


class Engine(Protocol):
    """The part of a spec that decides the schedule."""

    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...
    @property
    def dataflow(self) -> str: ...
    @property
    def pe_pipeline(self) -> int: ...
    @property
    def has_requant(self) -> bool: ...
    @property
    def result_latency(self) -> int: ...


class JobShape(Protocol):
    @property
    def m(self) -> int: ...
    @property
    def n(self) -> int: ...
    @property
    def k(self) -> int: ...
    @property
    def reuse_weights(self) -> bool: ...


@dataclass(frozen=True)
class JobCycles:
    """Cycles counted from the one in which an idle engine turns to the first job (cycle 0).

    ``first_step`` and ``last_step`` bound the array's work, ``done`` is the cycle in which the last result leaves;
    ``active`` is the number of steps.
    """

    first_step: int
    last_step: int
    done: int
    active: int


@dataclass
class _Timeline:
    """What the next job has to wait for."""

    offered: int = 0
    accepted: int = 0
    finished: int = -10**9        # last step
    pushed: int = -10**9          # last push
    weights_left: int = -10**9    # the reader turned to the other bank
    channels_loaded: int = -10**9  # the last beat of channel parameters so far
    bank: int = 1
    bank_done: list[int] = field(default_factory=lambda: [-10**9, -10**9])
    swapped: int = -10**9


def ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def ideal_cycles(engine: Engine, job: JobShape) -> int:
    """Steps of a job: what it takes when nothing but the array counts."""
    if engine.dataflow == "output_stationary":
        return ceil_div(job.m, engine.rows) * ceil_div(job.n, engine.cols) * job.k
    columns, vectors = (job.m, job.n) if engine.dataflow == "input_stationary" else (job.n, job.m)
    return ceil_div(job.k, engine.rows) * ceil_div(columns, engine.cols) * vectors


def walk(engine: Engine, jobs: Sequence[JobShape]) -> Iterator[JobCycles]:
    """The schedule of ``jobs``, offered back to back."""
    time = _Timeline()
    stationary = engine.dataflow != "output_stationary"
    lanes = engine.rows if engine.dataflow == "input_stationary" else engine.cols
    for job in jobs:
        weights_in = channels = -10**9
        weights_begun = time.offered
        takes = time.offered
        if not job.reuse_weights:
            weight_take = max(time.offered, time.weights_left + lanes + 1)
            weights_in = weight_take + BEAT_TO_STEP
            weights_begun = weight_take + 1
            time.bank ^= 1
            if engine.has_requant:
                takes = channels = max(time.offered, time.bank_done[time.bank], time.channels_loaded)
                time.channels_loaded = channels + job.n
        pushes_weights = engine.dataflow == "weight_stationary"
        sequencer_take = max(time.finished, time.offered if pushes_weights else weights_begun)
        push_take = max(time.pushed, weights_begun if pushes_weights else time.offered)
        if not job.reuse_weights:
            time.weights_left = push_take if pushes_weights else sequencer_take
        act_in = time.offered + BEAT_TO_STEP
        time.accepted = max(time.offered, takes, weights_begun - 1, sequencer_take, push_take if stationary else 0) + 1
        if stationary:
            first, last = _stationary(engine, job, time, push_take, sequencer_take, act_in, weights_in, channels)
        else:
            first, last = _output_stationary(engine, job, time.finished, sequencer_take, act_in, weights_in, channels)
        time.finished = last
        done = last + _latency(engine, job)
        time.bank_done[time.bank] = done - FIFO_LATENCY + 1  # results in the FIFO need their channels no longer
        time.offered = time.accepted + OFFER_LATENCY
        yield JobCycles(first, last, done, ideal_cycles(engine, job))


def _latency(engine: Engine, job: JobShape) -> int:
    """Cycles from a job's last step to its last result beat."""
    common = READ_LATENCY + engine.pe_pipeline + engine.result_latency + engine.cols - 1 + FIFO_LATENCY
    if engine.dataflow == "output_stationary":
        rows_in_last_tile = (job.m - 1) % engine.rows + 1
        return rows_in_last_tile + DRAIN_LATENCY + common
    return engine.rows + SUM_TO_TOTAL + common


def _channels_in(engine: Engine, job: JobShape, take: int, group: int) -> int:
    """First cycle in which a group's channel parameters count as loaded."""
    return take + 1 + min(job.n, (group + 1) * engine.cols)


def _output_stationary(engine: Engine, job: JobShape, finished: int, take: int, act_in: int, weights_in: int,
                       channels: int) -> tuple[int, int]:
    m_tiles, n_tiles = ceil_div(job.m, engine.rows), ceil_div(job.n, engine.cols)
    interval = max(job.k, engine.rows)
    first = max(take + 1, act_in, weights_in)
    last = max(first + job.k - 1, finished + engine.rows)
    for group in range(n_tiles):
        if group:
            last += interval
        last = max(last, _channels_in(engine, job, channels, group))
    return first, last + (m_tiles - 1) * n_tiles * interval


def _stationary(engine: Engine, job: JobShape, time: _Timeline, push_take: int, take: int, act_in: int,
                weights_in: int, channels: int) -> tuple[int, int]:
    input_stationary = engine.dataflow == "input_stationary"
    columns, vectors = (job.m, job.n) if input_stationary else (job.n, job.m)
    held_in, moving_in = (act_in, weights_in) if input_stationary else (weights_in, act_in)
    k_tiles = ceil_div(job.k, engine.rows)
    first_push, first_step = max(push_take + 1, held_in), max(take + 1, moving_in)
    first = None
    last = time.finished
    for group in range(ceil_div(columns, engine.cols)):
        for k_tile in range(k_tiles):
            push = max(first_push, time.pushed + 1, time.swapped)
            time.pushed = push + engine.rows - 1
            swap = max(first_step, time.pushed + 1, last + 1, time.swapped + ACCUMULATE_INTERVAL)
            if k_tile == k_tiles - 1 and not (input_stationary and group):
                swap = max(swap, channels + 2 if input_stationary else _channels_in(engine, job, channels, group))
            time.swapped = swap
            last = swap + vectors - 1
            if first is None:
                first = swap
    assert first is not None
    return first, last
