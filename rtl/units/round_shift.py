"""Shift right by a distance that comes with the value, round to nearest even, add an offset, saturate."""

from amaranth.hdl import Cat, Const, Mux, Value, signed
from tilewright.rtl.units.pipeline import Stages

DISTANCE_BITS = 6
COARSE_BITS = 3  # the distance's upper bits: one stage; the lower ones are the next
ROUND_SHIFT_LATENCY = 4


def rounded_and_saturated(
    stages: Stages, value: Value, distance: Value, offset: Value, *, out_width: int, name: str = "result"
) -> Value:
    """``clamp(rne(value / 2**distance) + offset)`` in ``out_width`` signed bits, 4 stages later.

    ``distance`` has 6 bits; ``offset`` is signed, of at most ``out_width + 1`` bits. All three arrive together. Stages: shift
    by eights; shift by ones; rounding and offset, with what is too large marked; saturation.
    """
    # One bit below the value: half a unit, once shifted. What leaves below that only counts as a whole.
    shifted: Value = Cat(Const(0, 1), value).as_signed()
    lost: Value = Const(0, 1)
    for bit in reversed(range(DISTANCE_BITS)):
        places = 1 << bit
        leaving = shifted[:min(places, len(shifted))].any()
        lost = stages.named(lost | (distance[bit] & leaving), f"{name}_lost_{places}")
        shifted = stages.named(Mux(distance[bit], shifted >> places, shifted), f"{name}_by_{places}",
                               shape=signed(len(value) + 1))
        if bit in (DISTANCE_BITS - COARSE_BITS, 0):
            lost = stages.stage(lost, f"{name}_lost_from_{places}")
            shifted = stages.stage(shifted, f"{name}_from_{places}")
            distance = stages.stage(distance[:bit], f"{name}_distance") if bit else distance
    offset = stages.stage(offset, f"{name}_offset", cycles=2)

    # Beyond out_width + 2 bits a quotient saturates whatever the offset.
    width = min(out_width + 2, len(value))
    half, quotient = shifted[0], shifted[1:]
    negative = quotient[-1]
    too_large = stages.stage((quotient[width - 1:] ^ negative.replicate(len(quotient) - width + 1)).any(), f"{name}_too_large")
    negative = stages.stage(negative, f"{name}_negative")
    up = half & (lost | quotient[0])
    total = stages.stage(quotient[:width].as_signed() + offset + up, f"{name}_total", shape=signed(out_width + 4))
    inside = (total[out_width - 1:] ^ total[-1].replicate(5)).any() == 0
    below = Mux(too_large, negative, total[-1])
    limit = Cat((~below).replicate(out_width - 1), below)
    saturated = Mux(too_large | ~inside, limit, total[:out_width])
    return stages.stage(saturated.as_signed(), name)
