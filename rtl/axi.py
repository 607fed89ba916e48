"""AMBA front ends: AXI4-Lite onto a register bus, AXI4-Stream onto the streams of an engine.

Source: ARM IHI 0022 (AXI4-Lite, chapter B1) and IHI 0051 (AXI4-Stream). Signal names are those of the
specification; a top gives each interface a prefix such as ``s_axi``.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out
from tilewright.rtl.byte_lanes import beat_bytes, beat_from_bytes, bytes_from_beat
from tilewright.rtl.register_file import BusSignature
from tilewright.rtl.skid_buffer import SkidBuffer

OKAY, SLVERR = 0b00, 0b10


class AxiLiteSignature(wiring.Signature):
    """AXI4-Lite with 32-bit data, as its master sees it. Nothing here uses ``awprot`` and ``arprot``."""

    def __init__(self, address_width: int) -> None:
        self.address_width = address_width
        super().__init__({
            "awaddr": Out(address_width), "awprot": Out(3), "awvalid": Out(1), "awready": In(1),
            "wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1),
            "bresp": In(2), "bvalid": In(1), "bready": Out(1),
            "araddr": Out(address_width), "arprot": Out(3), "arvalid": Out(1), "arready": In(1),
            "rdata": In(32), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
        })


class AxiStreamSignature(wiring.Signature):
    """AXI4-Stream as its source sees it: ``tdata`` of whole bytes, ``tkeep`` and ``tlast`` if asked for."""

    def __init__(self, data_bytes: int, *, keep: bool = False, last: bool = True) -> None:
        self.data_bytes = data_bytes
        members = {"tdata": Out(8 * data_bytes), "tvalid": Out(1), "tready": In(1)}
        if keep:
            members["tkeep"] = Out(data_bytes)
        if last:
            members["tlast"] = Out(1)
        super().__init__(members)


class AxiLiteSlave(wiring.Component):
    """AXI4-Lite slave in front of a register file.

    Every output comes from a register. Address and data of a write may come in either order. One access is
    under way at a time; reads and writes that wait for each other alternate, and a response that the master
    does not take holds up its own channel only. The response is valid 3 cycles behind the request. What the
    register file refuses answers SLVERR, everything else OKAY.

    Parameters
    ----------
    address_width : int
        Bits of a byte address.

    Members
    -------
    axi : In(AxiLiteSignature(address_width))
    bus : Out(BusSignature(address_width))
    """

    LATENCY = 3

    def __init__(self, *, address_width: int = 12) -> None:
        self.address_width = address_width
        super().__init__({
            "axi": In(AxiLiteSignature(address_width)), "bus": Out(BusSignature(address_width))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi, request, response = self.axi, self.bus.request, self.bus.response
        write_address = Signal(self.address_width)
        read_address = Signal(self.address_width)
        have_write_address = Signal()
        have_write_data = Signal()
        have_read_address = Signal()
        write_data = Signal(32)
        strobe = Signal(4)

        m.d.comb += [
            axi.awready.eq(~have_write_address),
            axi.wready.eq(~have_write_data),
            axi.arready.eq(~have_read_address),
        ]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [have_write_address.eq(1), write_address.eq(axi.awaddr)]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [have_write_data.eq(1), write_data.eq(axi.wdata), strobe.eq(axi.wstrb)]
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [have_read_address.eq(1), read_address.eq(axi.araddr)]

        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(axi.rready):
            m.d.sync += axi.rvalid.eq(0)

        can_write = Signal()
        can_read = Signal()
        write = Signal()
        under_way = Signal()
        wrote_last = Signal()
        m.d.comb += [
            can_write.eq(have_write_address & have_write_data & ~axi.bvalid),
            can_read.eq(have_read_address & ~axi.rvalid),
            write.eq(can_write & ~(can_read & wrote_last)),
            request.valid.eq(~under_way & (can_write | can_read)),
            request.payload.write.eq(write),
            request.payload.address.eq(Mux(write, write_address, read_address)),
            request.payload.data.eq(write_data),
            request.payload.strobe.eq(strobe),
            response.ready.eq(1),
        ]
        with m.If(request.valid & request.ready):
            m.d.sync += [under_way.eq(1), wrote_last.eq(write)]
            with m.If(write):
                m.d.sync += [have_write_address.eq(0), have_write_data.eq(0)]
            with m.Else():
                m.d.sync += have_read_address.eq(0)

        code = Mux(response.payload.error, SLVERR, OKAY)
        with m.If(response.valid):
            m.d.sync += under_way.eq(0)
            with m.If(wrote_last):
                m.d.sync += [axi.bvalid.eq(1), axi.bresp.eq(code)]
            with m.Else():
                m.d.sync += [axi.rvalid.eq(1), axi.rresp.eq(code), axi.rdata.eq(response.payload.data)]
        return m


class AxiStreamSink(wiring.Component):
    """An AXI4-Stream input as an engine's stream; ``tready`` and the payload come from registers.

    Bytes as :mod:`tilewright.rtl.byte_lanes` lays them; every byte of a beat counts. ``tlast`` is the
    payload's ``last``; a record without one has no ``tlast``. Latency 1 cycle, 1 beat per cycle.

    Parameters
    ----------
    shape : StructLayout
        Payload of the engine's stream.

    Members
    -------
    axi : In(AxiStreamSignature(...))
    o : Out(stream.Signature(shape))
    """

    LATENCY = SkidBuffer.LATENCY

    def __init__(self, *, shape: StructLayout) -> None:
        self.shape = shape
        super().__init__({
            "axi": In(AxiStreamSignature(beat_bytes(shape), last="last" in shape.members)),
            "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.slice = register_slice = SkidBuffer(shape=self.shape)
        m.d.comb += [
            *beat_from_bytes(register_slice.i.payload, self.axi.tdata, getattr(self.axi, "tlast", Signal())),
            register_slice.i.valid.eq(self.axi.tvalid),
            self.axi.tready.eq(register_slice.i.ready),
        ]
        wiring.connect(m, register_slice.o, wiring.flipped(self.o))
        return m


class AxiStreamSource(wiring.Component):
    """An engine's stream of lanes as an AXI4-Stream output; every signal of it comes from registers.

    ``tkeep`` repeats a lane's ``keep`` on each of its bytes. Latency 1 cycle, 1 beat per cycle.

    Parameters
    ----------
    shape : StructLayout
        Payload of the engine's stream: data, keep, last.

    Members
    -------
    i : In(stream.Signature(shape))
    axi : Out(AxiStreamSignature(..., keep=True))
    """

    LATENCY = SkidBuffer.LATENCY

    def __init__(self, *, shape: StructLayout) -> None:
        self.shape = shape
        super().__init__({
            "i": In(stream.Signature(shape)),
            "axi": Out(AxiStreamSignature(beat_bytes(shape), keep=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.slice = register_slice = SkidBuffer(shape=self.shape)
        wiring.connect(m, wiring.flipped(self.i), register_slice.i)
        data, keep = bytes_from_beat(register_slice.o.payload)
        m.d.comb += [
            self.axi.tdata.eq(data),
            self.axi.tkeep.eq(keep),
            self.axi.tlast.eq(register_slice.o.payload.last),
            self.axi.tvalid.eq(register_slice.o.valid),
            register_slice.o.ready.eq(self.axi.tready),
        ]
        return m
