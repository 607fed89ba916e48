"""The spec of `family: gemm`: C = A @ B on a systolic array, then requantized."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from tilewright.families.gemm.fields import (
    MAX_ACC_WIDTH,
    MAX_JOBS,
    MIN_ACC_WIDTH,
    ORT_MULTIPLIER_BITS,
    Array,
    Job,
    Limits,
    Numbers,
)
from tilewright.formats import IntFormat, signed_width
from tilewright.spec import Problem, Spec

MAX_BUFFER_BITS = 1 << 26  # far above any part that the open tools route
MAX_JOB_ELEMENTS = 1 << 26  # of A, B and C together: half a gigabyte for the golden model


class GemmSpec(Spec):
    """C = A @ B on a systolic array, with bias and per-channel requantization."""

    family: Literal["gemm"]
    array: Array
    numbers: Numbers = Numbers()
    limits: Limits = Limits()
    top: Literal["stream", "axi"] = Field(
        default="stream", description="stream: bare engine; axi: AXI4-Stream data, AXI4-Lite registers"
    )
    workload: tuple[Job, ...] = Field(
        default=(), validate_default=True, min_length=1, max_length=MAX_JOBS,
        description="the jobs to verify and to estimate; default: one at the limits",
    )

    @field_validator("workload", mode="before")
    @classmethod
    def _jobs(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, list):
            return tuple(value)
        if value == ():
            limits = info.data.get("limits", Limits())
            return (Job(m=limits.m, n=limits.n, k=limits.k),)
        return value

    # -- structure -----------------------------------------------------------------------------------

    @property
    def rows(self) -> int:
        """PEs down."""
        return self.array.rows

    @property
    def cols(self) -> int:
        """PEs across."""
        return self.array.cols

    @property
    def dataflow(self) -> str:
        """`output_stationary`, `weight_stationary` or `input_stationary`."""
        return self.array.dataflow

    @property
    def pe_pipeline(self) -> int:
        """Register stages of a PE, from operand to accumulator."""
        return self.array.pe_pipeline

    @property
    def act_lanes(self) -> int:
        """Elements of A in a beat: along m where outputs or inputs stay, along k where weights stay."""
        return self.cols if self.dataflow == "input_stationary" else self.rows

    @property
    def weight_lanes(self) -> int:
        """Elements of B in a beat: along n where outputs or weights stay, along k where inputs stay."""
        return self.rows if self.dataflow == "input_stationary" else self.cols

    @property
    def result_lanes(self) -> int:
        """Elements of C in a beat: along n, or along m where inputs stay."""
        return self.cols

    @property
    def k_block(self) -> int | None:
        """Products summed in the array before the sum joins the others; None: all of k, serially."""
        return None if self.dataflow == "output_stationary" else self.rows

    # -- numbers -------------------------------------------------------------------------------------

    @property
    def act(self) -> IntFormat:
        """Format of the activations."""
        return self.numbers.act

    @property
    def weight(self) -> IntFormat:
        """Format of the weights."""
        return self.numbers.weight

    @property
    def act_operand(self) -> IntFormat:
        """What enters the multiplier: the activation, less its zero point where there is one."""
        return _operand(self.act, self.numbers.act_zero_point)

    @property
    def weight_operand(self) -> IntFormat:
        """What enters the multiplier: the weight, less its zero point where there is one."""
        return _operand(self.weight, self.numbers.weight_zero_point)

    @property
    def exact_acc_width(self) -> int:
        """Signed bits that hold every partial sum of up to ``limits.k`` products.

        Interval arithmetic over the operands that can occur; a zero point is a value of
        its operand's format, so their difference stays within plus or minus 2**width - 1.
        """
        act = _interval(self.act, self.numbers.act_zero_point)
        weight = _interval(self.weight, self.numbers.weight_zero_point)
        products = [a * w for a in act for w in weight]
        depth = self.limits.k
        return signed_width(min(0, depth * min(products)), max(0, depth * max(products)))

    @property
    def acc_width(self) -> int:
        """Bits of the signed accumulator."""
        if self.numbers.acc == "auto":
            return max(self.exact_acc_width, MIN_ACC_WIDTH)
        return self.numbers.acc.width

    @property
    def acc_overflow(self) -> Literal["exact", "wrap", "saturate"]:
        """What the accumulator does with a sum that does not fit; `exact`: there is none."""
        if self.numbers.acc == "auto" or self.acc_width >= self.exact_acc_width:
            return "exact"
        assert self.numbers.acc.overflow != "error"  # refused by problems()
        return self.numbers.acc.overflow

    @property
    def has_requant(self) -> bool:
        """Whether results are requantized; if not, they are the accumulators."""
        return self.numbers.requant != "none"

    @property
    def rounding(self) -> str:
        """`rne`, `ort` or `half_up`; `none` without requantization."""
        return "none" if self.numbers.requant == "none" else self.numbers.requant.mode

    @property
    def activation(self) -> str:
        """`none`, `relu` or `clip`."""
        return self.numbers.activation

    @property
    def multiplier_bits(self) -> int:
        """Bits of the unsigned multiplier; 0 without requantization."""
        return 0 if self.numbers.requant == "none" else self.numbers.requant.multiplier_bits

    @property
    def shift_width(self) -> int:
        """Bits of the right shift."""
        return 6

    @property
    def bias_width(self) -> int:
        """Bits of the signed bias."""
        return 32

    @property
    def out(self) -> IntFormat:
        """Format of the results; without requantization that of the accumulator."""
        if self.numbers.requant == "none":
            return IntFormat(self.acc_width, signed=True)
        return self.numbers.requant.out

    @property
    def zero_point_width(self) -> int:
        """Bits of the signed output zero point, which is a value of ``out``."""
        return self.out.width + 1

    @property
    def channel_width(self) -> int:
        """Bits of one output channel's parameters; 0 without requantization."""
        if not self.has_requant:
            return 0
        bounds = 2 * self.out.width if self.activation == "clip" else 0
        return self.bias_width + self.multiplier_bits + self.shift_width + self.zero_point_width + bounds

    # -- buffers -------------------------------------------------------------------------------------

    @property
    def act_buffer_beats(self) -> int:
        """Beats of A in each of two banks: what is read again for another tile of C."""
        if self.dataflow == "weight_stationary":
            return _tiles(self.limits.k, self.rows) * self.limits.m
        return self.limits.k

    @property
    def weight_buffer_beats(self) -> int:
        """Beats of B in each of two banks: all of it, for ``reuse_weights``."""
        if self.dataflow == "input_stationary":
            return _tiles(self.limits.k, self.rows) * self.limits.n
        return _tiles(self.limits.n, self.cols) * self.limits.k

    @property
    def act_buffer_bits(self) -> int:
        """Both banks of A, zero points already subtracted."""
        return 2 * self.act_buffer_beats * self.act_lanes * self.act_operand.width

    @property
    def weight_buffer_bits(self) -> int:
        """Both banks of B, zero points already subtracted."""
        return 2 * self.weight_buffer_beats * self.weight_lanes * self.weight_operand.width

    @property
    def channel_buffer_bits(self) -> int:
        """Both banks of the channels' parameters; a lane each, but one lane in all where inputs stay."""
        lanes = 1 if self.dataflow == "input_stationary" else self.cols
        return 2 * _tiles(self.limits.n, lanes) * lanes * self.channel_width

    @property
    def partial_sum_buffer_bits(self) -> int:
        """Sums that wait for the next block of k, a column of tiles; 0 where outputs stay in the PEs."""
        if self.k_block is None:
            return 0
        streamed = self.limits.m if self.dataflow == "weight_stationary" else self.limits.n
        return streamed * self.result_lanes * self.acc_width

    @property
    def buffer_bits(self) -> int:
        """All of the above."""
        operands = self.act_buffer_bits + self.weight_buffer_bits
        return operands + self.channel_buffer_bits + self.partial_sum_buffer_bits

    # -- in words ------------------------------------------------------------------------------------

    def summary(self) -> list[tuple[str, str]]:
        """Array, numbers, buffers and workload."""
        requantized = f", requantized ({self.rounding}) to {self.out}" if self.has_requant else ""
        activation = f", {self.activation}" if self.activation != "none" else ""
        buffers = {
            "act": self.act_buffer_bits, "weight": self.weight_buffer_bits,
            "channel": self.channel_buffer_bits, "partial sums": self.partial_sum_buffer_bits,
        }
        sizes = ", ".join(f"{name} {bits / 1024:.1f}" for name, bits in buffers.items() if bits)
        macs = sum(job.m * job.n * job.k for job in self.workload)
        jobs = f"{len(self.workload)} job{'s' if len(self.workload) > 1 else ''}"
        return [
            ("array", f"{self.rows} x {self.cols} PEs, {self.dataflow}, pipeline {self.pe_pipeline}"),
            ("top", self.top),
            ("numbers", f"{self.act} x {self.weight} -> int{self.acc_width} ({self.acc_overflow})"
                        f"{requantized}{activation}"),
            ("limits", f"m {self.limits.m}, n {self.limits.n}, k {self.limits.k}"),
            ("buffers", f"{self.buffer_bits / 1024:.1f} kbit: {sizes}"),
            ("workload", f"{jobs}, {macs} MACs"),
        ]

    # -- what the fields contradict ------------------------------------------------------------------

    def problems(self) -> Iterator[Problem]:
        """Accumulator, requantizer, buffer sizes and workload."""
        yield from self._acc_problems()
        yield from self._requant_problems()
        yield from self._buffer_problems()
        yield from self._workload_problems()

    def _acc_problems(self) -> Iterator[Problem]:
        acc, exact, depth = self.numbers.acc, self.exact_acc_width, self.limits.k
        if acc == "auto":
            if exact > MAX_ACC_WIDTH:
                yield Problem(("numbers", "acc"), (
                    f"auto needs {exact} bits for a sum of {depth} products; at most {MAX_ACC_WIDTH}: lower "
                    "limits.k, narrow act or weight, or write {width: ..., overflow: wrap or saturate}"))
        elif acc.overflow == "error" and acc.width < exact:
            yield Problem(("numbers", "acc"), (
                f"{acc.width} bits are too few for a sum of {depth} products, which needs {exact}; "
                f"widen it, lower limits.k, or write {{width: {acc.width}, overflow: wrap or saturate}}"))

    def _requant_problems(self) -> Iterator[Problem]:
        requant = self.numbers.requant
        if requant == "none":
            if self.activation != "none":
                yield Problem(("numbers", "activation"), (
                    f"'{self.activation}' bounds requantized results, and requant is none; "
                    "write activation: none, or a requant"))
        elif requant.mode == "ort" and requant.multiplier_bits != ORT_MULTIPLIER_BITS:
            yield Problem(("numbers", "requant", "multiplier_bits"), (
                f"{requant.multiplier_bits} with mode ort, which needs {ORT_MULTIPLIER_BITS}; "
                f"write {ORT_MULTIPLIER_BITS}, or mode: rne"))

    def _buffer_problems(self) -> Iterator[Problem]:
        if self.buffer_bits <= MAX_BUFFER_BITS:
            return
        fitting = [f"limits.{name} to {size}" for name in ("m", "n", "k") if (size := self._largest(name))]
        advice = " or ".join(fitting) or "more than one of limits.m, limits.n and limits.k"
        bits, most = self.buffer_bits / (1 << 20), MAX_BUFFER_BITS >> 20
        yield Problem(("limits",), f"buffers of {bits:.1f} Mbit; at most {most}: lower {advice}")

    def _largest(self, name: str) -> int:
        """The largest ``limits.name`` whose buffers fit, the other limits as they are; 0 if none does."""
        def fits(size: int) -> bool:
            limits = self.limits.model_copy(update={name: size})
            return self.model_copy(update={"limits": limits}).buffer_bits <= MAX_BUFFER_BITS

        return bisect_left(range(1, getattr(self.limits, name) + 1), True, key=lambda size: not fits(size))

    def _workload_problems(self) -> Iterator[Problem]:
        before: Job | None = None
        for index, job in enumerate(self.workload):
            route = ("workload", index)
            for name in ("m", "n", "k"):
                size, limit = getattr(job, name), getattr(self.limits, name)
                if size > limit:
                    yield Problem((*route, name), f"{size} is above limits.{name}, which is {limit}")
            elements = job.m * job.k + job.k * job.n + job.m * job.n
            if elements > MAX_JOB_ELEMENTS:
                text = f"{elements} elements in A, B and C; at most {MAX_JOB_ELEMENTS}"
                if "workload" in self.model_fields_set:
                    yield Problem(route, f"{text}: split the job")
                else:
                    yield Problem(("limits",), (
                        f"one job at the limits, the workload unless one is written, has {text}: write one"))
            if job.reuse_weights and before is None:
                yield Problem((*route, "reuse_weights"), "true in the first job; no weights are resident yet")
            elif job.reuse_weights and before is not None and (job.n, job.k) != (before.n, before.k):
                yield Problem((*route, "reuse_weights"), (
                    f"true with n {job.n} and k {job.k} after a job with n {before.n} and k {before.k}; "
                    "both must be the same"))
            before = job


def _operand(number: IntFormat, has_zero_point: bool) -> IntFormat:
    return IntFormat(number.width + 1, signed=True) if has_zero_point else number


def _interval(number: IntFormat, has_zero_point: bool) -> tuple[int, int]:
    span = number.high - number.low
    return (-span, span) if has_zero_point else (number.low, number.high)


def _tiles(size: int, lanes: int) -> int:
    return -(-size // lanes)
