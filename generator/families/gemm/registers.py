"""The register map and the streams of a GEMM engine, as its drivers see them."""

from tilewright.families.gemm.spec import GemmSpec
from tilewright.formats import IntFormat
from tilewright.registers import (
    HASH_WORDS,
    DriverInfo,
    Field,
    RegisterInfo,
    StreamField,
    StreamInfo,
    hash_words,
)
from tilewright.rtl.byte_lanes import container_bytes, field_bytes

MAGIC = 0x544C4752  # "TLGR": Tilewright, GEMM registers
VERSION = 1  # of this map; a driver refuses another
DATAFLOWS = ("output_stationary", "weight_stationary", "input_stationary")


def registers(spec: GemmSpec, design_hash: str) -> tuple[RegisterInfo, ...]:
    """The map of one design. Zero-point registers are there when jobs bring that zero point."""
    return (*_identity(spec, design_hash), *_job(spec), *_status())


def _identity(spec: GemmSpec, design_hash: str) -> tuple[RegisterInfo, ...]:
    array = (
        Field("rows", 0, 8, "PEs down"), Field("cols", 8, 8, "PEs across"),
        Field("dataflow", 16, 2, "0 output-, 1 weight-, 2 input-stationary"),
        Field("act_zero_point", 18, 1, "jobs bring a zero point of the activations"),
        Field("weight_zero_point", 19, 1, "jobs bring a zero point of the weights"),
        Field("requant", 20, 1, "results are requantized; there is a channel stream"),
        Field("clip", 21, 1, "channels bring the bounds low and high"),
    )
    lanes = (
        Field("act", 0, 8, "elements of A in a beat"), Field("weight", 8, 8, "elements of B in a beat"),
        Field("result", 16, 8, "elements of C in a beat"),
    )
    sizes = (
        Field("act", 0, 4, "bytes of an element of A"), Field("weight", 4, 4, "bytes of an element of B"),
        Field("result", 8, 4, "bytes of an element of C"),
        Field("channel", 12, 8, "bytes of a channel beat; 0: no channel stream"),
    )
    array_values = {
        "rows": spec.rows, "cols": spec.cols, "dataflow": DATAFLOWS.index(spec.dataflow),
        "act_zero_point": spec.numbers.act_zero_point, "weight_zero_point": spec.numbers.weight_zero_point,
        "requant": spec.has_requant, "clip": spec.activation == "clip",
    }
    lane_values = {"act": spec.act_lanes, "weight": spec.weight_lanes, "result": spec.result_lanes}
    size_values = {
        "act": container_bytes(spec.act.width), "weight": container_bytes(spec.weight.width),
        "result": container_bytes(spec.out.width),
        "channel": sum(field.bytes for field in _channel_fields(spec)),
    }
    return (
        RegisterInfo("magic", 0x000, "constant", "0x544C4752: a Tilewright GEMM engine", value=MAGIC),
        RegisterInfo("version", 0x004, "constant", "version of this map", value=VERSION),
        *(RegisterInfo(f"hash_{word}", 0x010 + 4 * word, "constant",
                       f"digits {8 * word} to {8 * word + 7} of the design's hash", value=value)
          for word, value in enumerate(hash_words(design_hash)[:HASH_WORDS])),
        RegisterInfo("array", 0x020, "constant", "the array", fields=array, value=_pack(array, array_values)),
        RegisterInfo("lanes", 0x024, "constant", "lanes of the streams", fields=lanes,
                     value=_pack(lanes, lane_values)),
        RegisterInfo("element_bytes", 0x028, "constant", "sizes in the streams", fields=sizes,
                     value=_pack(sizes, size_values)),
        RegisterInfo("limit_m", 0x030, "constant", "largest m", value=spec.limits.m),
        RegisterInfo("limit_n", 0x034, "constant", "largest n", value=spec.limits.n),
        RegisterInfo("limit_k", 0x038, "constant", "largest k", value=spec.limits.k),
    )


def _job(spec: GemmSpec) -> tuple[RegisterInfo, ...]:
    zero_points = (("act", 0x050, spec.numbers.act_zero_point, spec.act),
                   ("weight", 0x054, spec.numbers.weight_zero_point, spec.weight))
    return (
        RegisterInfo("m", 0x040, "control", "rows of A and of C"),
        RegisterInfo("n", 0x044, "control", "columns of B and of C"),
        RegisterInfo("k", 0x048, "control", "columns of A, rows of B"),
        RegisterInfo("flags", 0x04C, "control", "how the job runs", width=1, fields=(
            Field("reuse_weights", 0, 1, "keep weights and channels of the job before; they are not sent"),)),
        *(RegisterInfo(f"{name}_zero_point", offset, "control",
                       f"zero point of the job's {name} operand, {number.name}, two's complement",
                       width=number.width)
          for name, offset, used, number in zero_points if used),
        RegisterInfo("start", 0x05C, "command", "queue the job that the registers above hold; "
                     "answers with an error while the queue is full"),
    )


def _status() -> tuple[RegisterInfo, ...]:
    interrupts = (
        Field("done", 0, 1, "a job's last result was taken"), Field("error", 1, 1, "a bit of error was set"))
    return (
        RegisterInfo("status", 0x060, "status", "what goes on", width=16, fields=(
            Field("busy", 0, 1, "the engine or the queue holds a job"),
            Field("queue_full", 1, 1, "start would be refused"),
            Field("error_code", 4, 4, "the engine's last error; 0 after a legal job was accepted"),
            Field("queued", 8, 8, "jobs that wait in the queue"))),
        RegisterInfo("done_count", 0x064, "status", "jobs done since reset, modulo 2**32"),
        RegisterInfo("error", 0x068, "event", "errors since they were cleared", width=4, fields=(
            Field("illegal_shape", 0, 1, "m, n or k is 0 or above its limit; the job was dropped"),
            Field("weights_not_resident", 1, 1, "nothing to reuse with this n and k; the job was dropped"),
            Field("act_frame", 2, 1, "tlast of the act stream in the wrong place"),
            Field("weight_frame", 3, 1, "tlast of the weight stream in the wrong place"))),
        RegisterInfo("irq_enable", 0x070, "control", "which events raise irq", width=2, fields=interrupts),
        RegisterInfo("irq_status", 0x074, "event", "events since they were cleared", width=2,
                     fields=interrupts),
        RegisterInfo("counter_cycles", 0x080, "status", "cycles busy since the engine last left idle"),
        RegisterInfo("counter_active", 0x084, "status", "of these, cycles in which the array took a step"),
        RegisterInfo("counter_input_stall", 0x088, "status", "of these, cycles that waited for operands"),
        RegisterInfo("counter_output_stall", 0x08C, "status", "of these, cycles that waited for room behind"),
    )


def _pack(fields: tuple[Field, ...], values: dict[str, int]) -> int:
    return sum(int(values[field.name]) << field.low for field in fields)


def _channel_fields(spec: GemmSpec) -> tuple[StreamField, ...]:
    if not spec.has_requant:
        return ()
    formats = {
        "bias": IntFormat(spec.bias_width, signed=True),
        "multiplier": IntFormat(spec.multiplier_bits, signed=False),
        "shift": IntFormat(spec.shift_width, signed=False),
        "zero_point": IntFormat(spec.zero_point_width, signed=True),
    }
    if spec.activation == "clip":
        formats |= {"low": spec.out, "high": spec.out}
    return tuple(StreamField(name, number.width, number.signed, field_bytes(number.width))
                 for name, number in formats.items())


def _element(number: IntFormat) -> tuple[StreamField, ...]:
    return (StreamField("element", number.width, number.signed, container_bytes(number.width)),)


def driver_info(spec: GemmSpec, design_hash: str) -> DriverInfo:
    """All that the driver folder of one design says."""
    from tilewright import serial_transport
    from tilewright.families.gemm import device, job, vectors  # NumPy, which Verilog does not need

    streams = [
        StreamInfo("act", "s_axis_act", spec.act_lanes, _element(spec.act), "elements of A", 0),
        StreamInfo("weight", "s_axis_weight", spec.weight_lanes, _element(spec.weight), "elements of B", 1),
    ]
    if spec.has_requant:
        streams.append(StreamInfo(
            "channel", "s_axis_channel", 1, _channel_fields(spec), "requantization of one column of C", 2))
    streams.append(StreamInfo(
        "result", "m_axis_result", spec.result_lanes, _element(spec.out), "elements of C"))
    return DriverInfo(
        design=spec.design, family=spec.family, hash=design_hash, registers=registers(spec, design_hash),
        streams=tuple(streams),
        values={
            "magic": MAGIC, "version": VERSION,
            "rows": spec.rows, "cols": spec.cols, "dataflow": spec.dataflow,
            "limits": {"m": spec.limits.m, "n": spec.limits.n, "k": spec.limits.k},
            "act_zero_point": spec.numbers.act_zero_point,
            "weight_zero_point": spec.numbers.weight_zero_point,
            "activation": spec.activation,
        },
        modules=(vectors, job, device, serial_transport),
        device=device.GemmDevice, errors=(device.DeviceError, job.JobError),
        example="c = engine.job(a=a, b=b{})".format(", bias=bias, multiplier=multiplier, shift=shift" * spec.has_requant),
        arguments=_arguments(spec))


def _arguments(spec: GemmSpec) -> str:
    """What the arguments of a job are."""
    limits = spec.limits
    lines = [f"``a`` is (M, K) and ``b`` (K, N), up to M {limits.m}, N {limits.n}, K {limits.k}; c is (M, N), int64.",
             "``reuse_weights=True`` in place of ``b`` keeps b and all that came with it from the job before."]
    if spec.has_requant:
        names = [*("bias", "multiplier", "shift", "zero_point"), *(("low", "high") if spec.activation == "clip" else ())]
        lines.append(f"One value for all columns of b, or N: {', '.join(f'``{name}``' for name in names)}.")
    lines += [f"``{name}_zero_point`` is one value." for name in ("act", "weight")
              if getattr(spec.numbers, f"{name}_zero_point")]
    return "\n".join(lines)
