"""How beats lie in the bytes that software sees: AXI4-Stream ``tdata`` and the UART's packets.

A beat of lanes, ``{data: ArrayLayout, ..., last: 1}``, is an array: each element takes the smallest of 1,
2, 4 or 8 bytes that holds it (sub-byte elements take a byte each), sign- or zero-extended, lane 0 first, so
that software reads and writes int8, int16, int32 or int64. A beat of any other layout is a record: its
fields in order, each rounded up to whole bytes. Bytes are little-endian throughout; bits above an element
or field are ignored on the way in.
"""

from typing import Any

from amaranth.hdl import Cat, Const, Shape, Value
from amaranth.lib.data import ArrayLayout, StructLayout, View

CONTAINER_BYTES = (1, 2, 4, 8)


def container_bytes(width: int) -> int:
    """Bytes that one element of ``width`` bits takes in a beat of lanes."""
    for size in CONTAINER_BYTES:
        if width <= 8 * size:
            return size
    raise ValueError(f"an element may have at most 64 bits, not {width!r}")


def field_bytes(width: int) -> int:
    """Bytes that one field of ``width`` bits takes in a record."""
    return -(-width // 8)


def _lanes(layout: StructLayout) -> ArrayLayout | None:
    return dict(layout.members).get("data")


def beat_bytes(layout: StructLayout) -> int:
    """Bytes of one beat of ``layout``."""
    if (lanes := _lanes(layout)) is not None:
        return lanes.length * container_bytes(Shape.cast(lanes.elem_shape).width)
    return sum(field_bytes(Shape.cast(shape).width) for shape in layout.members.values())


def beat_from_bytes(beat: View, data: Value, last: Value) -> list[Any]:
    """Assignments of the bytes ``data`` to ``beat``; ``last`` goes to its ``last`` if it has one."""
    layout = beat.shape()
    if (lanes := _lanes(layout)) is not None:
        width = Shape.cast(lanes.elem_shape).width
        step = 8 * container_bytes(width)
        elements = Cat(data[lane * step:lane * step + width] for lane in range(lanes.length))
        return [Value.cast(beat.data).eq(elements), beat.last.eq(last)]
    assignments = []
    position = 0
    for name, shape in layout.members.items():
        width = Shape.cast(shape).width
        assignments.append(Value.cast(beat[name]).eq(data[position:position + width]))
        position += 8 * field_bytes(width)
    return assignments


def bytes_from_beat(beat: View) -> tuple[Value, Value]:
    """The bytes of a beat of lanes, and a bit per byte that says whether its lane is kept."""
    lanes = beat.shape().members["data"]
    shape = Shape.cast(lanes.elem_shape)
    size = container_bytes(shape.width)
    above = 8 * size - shape.width
    bits = Value.cast(beat.data)

    def container(lane: int) -> Value:
        element = bits[lane * shape.width:(lane + 1) * shape.width]
        return Cat(element, element[-1].replicate(above) if shape.signed else Const(0, above))

    data = Cat(container(lane) for lane in range(lanes.length))
    keep = Cat(beat.keep[lane].replicate(size) for lane in range(lanes.length))
    return data, keep
