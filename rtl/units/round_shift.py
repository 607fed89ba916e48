"""Shift right by a distance that comes with the value, round to nearest even, add an offset, saturate."""

from amaranth.hdl import Cat, Const, Mux, Value, signed
from tilewright.rtl.units.pipeline import Stages

DISTANCE_BITS = 6
COARSE_BITS = 3  # the distance's upper bits: one stage; the lower ones are the next
ROUND_SHIFT_LATENCY = 4


def shifted_right(stages: Stages, value: Value, distance: Value, *, name: str) -> tuple[Value, Value, Value]:
    """``(quotient, half, rest)`` of ``value / 2**distance``, 2 stages later; ``distance`` has 6 bits.

    ``quotient`` is the floor; ``half`` the first bit below it, ``rest`` whether there is more below that. Stages: shift by
    eights; shift by ones.
    """
    # One bit below the value: half a unit, once shifted. What leaves below that only counts as a whole.
    shifted: Value = Cat(Const(0, 1), value).as_signed()
    rest: Value = Const(0, 1)
    for bit in reversed(range(DISTANCE_BITS)):
        places = 1 << bit
        leaving = shifted[:min(places, len(shifted))].any()
        rest = stages.named(rest | (distance[bit] & leaving), f"{name}_lost_{places}")
        shifted = stages.named(Mux(distance[bit], shifted >> places, shifted), f"{name}_by_{places}",
                               shape=signed(len(value) + 1))
        if bit in (DISTANCE_BITS - COARSE_BITS, 0):
            rest = stages.stage(rest, f"{name}_lost_from_{places}")
            shifted = stages.stage(shifted, f"{name}_from_{places}")
            distance = stages.stage(distance[:bit], f"{name}_distance") if bit else distance
    return shifted[1:].as_signed(), shifted[0], rest


def rounds_up(quotient: Value, half: Value, rest: Value) -> Value:
    """Whether the nearest integer is ``quotient + 1``; ties to even."""
    return half & (rest | quotient[0])


def saturated(total: Value, out_width: int) -> Value:
    """``total`` in ``out_width`` signed bits."""
    inside = total[out_width - 1:].any() == total[out_width - 1:].all()
    limit = Cat((~total[-1]).replicate(out_width - 1), total[-1])
    return Mux(inside, total[:out_width], limit).as_signed()


def rounded_and_saturated(
    stages: Stages, value: Value, distance: Value, offset: Value, *, out_width: int, name: str = "result"
) -> Value:
    """``clamp(rne(value / 2**distance) + offset)`` in ``out_width`` signed bits, 4 stages later.

    ``distance`` has 6 bits; ``offset`` is signed, of at most ``out_width + 1`` bits. All three arrive together. Stages: those
    of :func:`shifted_right`; rounding and offset, with what is too large marked; saturation.
    """
    quotient, half, rest = shifted_right(stages, value, distance, name=name)
    offset = stages.stage(offset, f"{name}_offset", cycles=2)

    # Beyond out_width + 2 bits a quotient saturates whatever the offset.
    width = min(out_width + 2, len(value))
    upper = quotient[width - 1:]
    too_large = stages.stage((upper ^ quotient[-1].replicate(len(upper))).any(), f"{name}_too_large")
    negative = stages.stage(quotient[-1], f"{name}_negative")
    total = stages.stage(quotient[:width].as_signed() + offset + rounds_up(quotient, half, rest), f"{name}_total",
                         shape=signed(out_width + 4))
    limit = Cat((~negative).replicate(out_width - 1), negative).as_signed()
    return stages.stage(Mux(too_large, limit, saturated(total, out_width)), name)
