"""An exact product wider than one multiplier block: chunks of 17 bits, then one or two adder stages."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.rtl.multiply import Multiplier

# An 18 x 18 signed multiplier takes 17 unsigned bits; the signed top chunk may use all 18.
CHUNK_WIDTH = 17
MULTIPLIER_LATENCY = 2


@dataclass(frozen=True)
class Chunk:
    """Bits ``offset`` .. ``offset + width`` of an operand; only the top chunk of a signed one is signed."""

    offset: int
    width: int
    signed: bool


def split_operand(width: int, *, is_signed: bool) -> list[Chunk]:
    """The chunks of an operand, lowest first."""
    top = CHUNK_WIDTH + is_signed
    chunks, offset = [], 0
    while width - offset > top:
        chunks.append(Chunk(offset, CHUNK_WIDTH, False))
        offset += CHUNK_WIDTH
    return [*chunks, Chunk(offset, width - offset, is_signed)]


def _pack(products: list[Chunk]) -> list[list[Chunk]]:
    """Products that do not overlap share a row; a signed one fills its row to the top."""
    rows: list[list[Chunk]] = []
    for product in sorted(products, key=lambda chunk: chunk.offset):
        for row in rows:
            if not row[-1].signed and row[-1].offset + row[-1].width <= product.offset:
                row.append(product)
                break
        else:
            rows.append([product])
    return rows


class WideMultiply(wiring.Component):
    """``p(t + latency) = a(t) * b(t)``, exact; one product per cycle, no stall.

    One :class:`Multiplier` per pair of chunks. Partial products that do not overlap are one row of the
    sum; up to three rows are added in one cycle (a carry-save layer and one carry chain), more in two.
    Latency is 2 + 1, 2 + 2 with more than three rows, and 2 where one multiplier suffices.

    Parameters
    ----------
    a_width : int
        Width of the signed operand.
    b_width : int
        Width of the unsigned operand.
    target : str
        Passed on to :class:`Multiplier`.

    Members
    -------
    a : In(signed(a_width))    b : In(unsigned(b_width))    p : Out(signed(a_width + b_width))
    """

    def __init__(self, *, a_width: int, b_width: int, target: str = "generic") -> None:
        self.a_width = a_width
        self.b_width = b_width
        self.target = target
        self.a_chunks = split_operand(a_width, is_signed=True)
        self.b_chunks = split_operand(b_width, is_signed=False)
        super().__init__(
            {"a": In(signed(a_width)), "b": In(unsigned(b_width)), "p": Out(signed(a_width + b_width))}
        )

    @property
    def rows(self) -> int:
        """Operands of the final sum."""
        return len(_pack([self._product(a, b) for a in self.a_chunks for b in self.b_chunks]))

    @property
    def latency(self) -> int:
        return MULTIPLIER_LATENCY + (self.rows > 1) + (self.rows > 3)

    @staticmethod
    def _product(a: Chunk, b: Chunk) -> Chunk:
        return Chunk(a.offset + b.offset, a.width + b.width, a.signed)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        values: dict[Chunk, list[Value]] = {}
        for i, a in enumerate(self.a_chunks):
            for j, b in enumerate(self.b_chunks):
                a_bits, b_bits = self.a[a.offset :][: a.width], self.b[b.offset :][: b.width]
                multiplier = Multiplier(
                    a_shape=signed(a.width) if a.signed else unsigned(a.width),
                    b_shape=unsigned(b.width),
                    latency=MULTIPLIER_LATENCY,
                    target=self.target,
                )
                m.submodules[f"multiplier_{i}_{j}"] = multiplier
                m.d.comb += [multiplier.a.eq(a_bits), multiplier.b.eq(b_bits), multiplier.b_enable.eq(1)]
                product = self._product(a, b)
                values.setdefault(product, []).append(multiplier.p[: product.width])
        rows = [self._row(row, values) for row in _pack([c for c, copies in values.items() for _ in copies])]
        if len(rows) > 3:
            halves = []
            for index in range(0, len(rows), 2):
                half = Signal(len(self.p), name=f"half_{index // 2}")
                m.d.sync += half.eq(sum(rows[index : index + 2], Const(0)))
                halves.append(half)
            rows = halves
        if len(rows) == 1:
            m.d.comb += self.p.eq(rows[0])
            return m
        if len(rows) == 3:
            first, second, third = rows
            majority = (first & second) | (first & third) | (second & third)
            rows = [first ^ second ^ third, Cat(Const(0, 1), majority)[: len(self.p)]]
        total = Signal(len(self.p), reset_less=True)
        # Below the second chunk only one row has bits: they pass beside the carry chain.
        m.d.sync += total.eq(Cat(rows[0][:CHUNK_WIDTH], rows[0][CHUNK_WIDTH:] + rows[1][CHUNK_WIDTH:]))
        m.d.comb += self.p.eq(total)
        return m

    def _row(self, row: list[Chunk], values: dict[Chunk, list[Value]]) -> Value:
        parts: list[Value] = []
        end = 0
        for chunk in row:
            parts += [Const(0, chunk.offset - end), values[chunk].pop()]
            end = chunk.offset + chunk.width
        missing = len(self.p) - end
        fill = parts[-1][-1].replicate(missing) if row[-1].signed else Const(0, missing)
        return Cat(*parts, fill)
