"""The registers of a GEMM engine: job, queue, status, errors, counters and interrupt."""

from collections.abc import Iterable

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out
from tilewright.rtl.register_file import BusSignature, Register, RegisterFile

COUNTERS = ("counter_cycles", "counter_active", "counter_input_stall", "counter_output_stall")
ERROR_WIDTH = 4
ERROR_CODES = 4  # 1 illegal shape, 2 nothing resident to reuse, 3 act frame, 4 weight frame


class GemmControl(wiring.Component):
    """Register file and job queue in front of a GEMM engine's ``job`` port.

    A 1 written to ``start`` queues the job that the job registers hold; it is refused while the queue
    is full. A dimension too large for the engine's field reaches it as 0, which it refuses as illegal
    rather than running the number's low bits. Every error code the engine raises sets bit ``code - 1`` of
    ``error`` until software clears it; ``irq`` is high while an enabled bit of ``irq_status`` (0 done, 1
    error) is set.

    Parameters
    ----------
    job_shape : StructLayout
        Payload of the engine's ``job`` stream.
    registers : iterable of Register
        Must hold start, status, done_count, error, irq_enable, irq_status, m, n, k, flags (bit 0
        reuse_weights), the four counters, and a zero-point register for each zero point of the job;
        constants are free.
    address_width : int
        Bits of a byte address.
    queue_depth : int
        Jobs that wait in front of the engine.

    Members
    -------
    bus : In(BusSignature(address_width))
    job : Out(stream.Signature(job_shape))
    busy, done, error, counter_... : In, as the engine drives them
    irq : Out(1)
    working : Out(1), the engine or the queue holds a job
    failed : Out(1), a bit of ``error`` is set
    """

    def __init__(self, *, job_shape: StructLayout, registers: Iterable[Register], address_width: int = 12,
                 queue_depth: int = 4) -> None:
        self.job_shape = job_shape
        self.registers = tuple(registers)
        self.address_width = address_width
        self.queue_depth = queue_depth
        super().__init__({
            "bus": In(BusSignature(address_width)),
            "job": Out(stream.Signature(job_shape)),
            "busy": In(1), "done": In(1), "error": In(ERROR_WIDTH),
            **{name: In(32) for name in COUNTERS},
            "irq": Out(1), "working": Out(1), "failed": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.registers = registers = RegisterFile(
            registers=self.registers, address_width=self.address_width)
        width = Shape.cast(self.job_shape).width
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=width, depth=self.queue_depth)
        wiring.connect(m, wiring.flipped(self.bus), registers.bus)
        control, status = registers.control, registers.status

        wanted = Signal(self.job_shape)
        for field, shape in self.job_shape.members.items():
            m.d.comb += Value.cast(wanted[field]).eq(self._field(control, field, Shape.cast(shape).width))
        m.d.comb += [
            registers.command.start.ready.eq(queue.w_rdy),
            queue.w_en.eq(registers.command.start.strobe),
            queue.w_data.eq(wanted),
            Value.cast(self.job.payload).eq(queue.r_data),
            self.job.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.job.ready),
            self.working.eq(self.busy | queue.r_rdy | (queue.level != 0)),
        ]

        raised = self._raised(m)
        m.d.comb += [
            registers.event.error.set.eq(
                Cat(raised & (self.error == code + 1) for code in range(ERROR_CODES))),
            registers.event.irq_status.set.eq(Cat(self.done, raised)),
            self.failed.eq(registers.event.error.pending.any()),
            self.irq.eq((registers.event.irq_status.pending & control.irq_enable).any()),
        ]

        m.d.sync += status.done_count.eq(status.done_count + self.done)
        m.d.comb += [
            status.status.eq(Cat(self.working, ~queue.w_rdy, Const(0, 2), self.error, queue.level)),
            *(getattr(status, name).eq(getattr(self, name)) for name in COUNTERS),
        ]
        return m

    def _raised(self, m: Module) -> Value:
        """High in the cycle after the engine raised an error, also when it is the code it showed before."""
        before = Signal(ERROR_WIDTH)
        taken = Signal()
        m.d.sync += [before.eq(self.error), taken.eq(self.job.valid & self.job.ready)]
        return (self.error != 0) & ((self.error != before) | taken)

    @staticmethod
    def _field(control: object, field: str, width: int) -> Value:
        """The value of a job field as the registers give it."""
        if field == "reuse_weights":
            return getattr(control, "flags")[0]  # noqa: B009
        register = Value.cast(getattr(control, field))
        if field in ("m", "n", "k"):
            return Mux(register[width:].any(), 0, register[:width])
        return register[:width]
