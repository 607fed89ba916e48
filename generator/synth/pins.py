"""From a netlist with ports to one with pins: the harness around a bare engine, or a board's constraints."""

from dataclasses import dataclass
from pathlib import Path

from tilewright.devices import Board, Device
from tilewright.errors import UserError
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.rtl.pin_harness import PinHarness
from tilewright.sim.build_cache import cached, content_key
from tilewright.synth.architecture import architecture_of
from tilewright.synth.netlist import Counts, Netlist
from tilewright.synth.synthesize import NETLIST, Synthesis, synthesize
from tilewright.synth.yosys import run_yosys, yosys_version

HARNESS = "pin_harness"
INSIDE = "design."      # in front of the design's cell names, behind the harness
_FORMAT = "2"


@dataclass(frozen=True)
class Pinned:
    """What goes to placement: a netlist, constraints in the words of nextpnr, and what of it is harness."""

    netlist: Path
    key: str
    constraints: str
    harness: Counts | None


def with_harness(synthesis: Synthesis, *, device: Device, cache: Path) -> Pinned:
    """``synthesis`` behind the registers of a pin harness, its own cells unchanged.

    The two are mapped apart and then joined: nothing is optimized across the boundary, so every port bit
    stays, and the cells of the design are those that were counted and simulated.
    """
    architecture = architecture_of(device)
    netlist = Netlist.load(synthesis.netlist, top=synthesis.top, architecture=architecture)
    harness = PinHarness(module=synthesis.top, ports=netlist.ports())
    rtlil = to_rtlil(harness, name=HARNESS)
    # to_rtlil prefixes what it takes for a module of its own; the design keeps its name.
    rtlil = rtlil.replace(f"cell \\{HARNESS}_{synthesis.top} ", f"cell \\{synthesis.top} ")
    key = content_key([_FORMAT, yosys_version(), synthesis.key, rtlil])

    def build(folder: Path) -> None:
        shell = synthesize(rtlil + _blackbox(netlist), top=HARNESS, device=device, blocks={}, cache=cache)
        for name, source in (("design", synthesis), ("shell", shell)):
            (folder / f"{name}.json").write_bytes(source.netlist.read_bytes())
        run_yosys([architecture.library, "read_json design.json", "read_json shell.json",
                   f"hierarchy -top {HARNESS}", "flatten -noscopeinfo", f"select {HARNESS}",
                   f"write_json -selected {NETLIST}"], folder=folder)
        joined = Netlist.load(folder / NETLIST, top=HARNESS, architecture=architecture)
        joined.save(folder / NETLIST)
        for name in ("design.json", "shell.json", "run.ys", "yosys.log"):
            (folder / name).unlink()

    folder = cached(cache, f"pinned-{key}", build)
    joined = Netlist.load(folder / NETLIST, top=HARNESS, architecture=architecture).total()
    apart = {column: joined[column] - synthesis.total[column] for column in joined}
    return Pinned(folder / NETLIST, key, _clock_constraint(device), apart)


def on_board(synthesis: Synthesis, *, board: Board, device: Device) -> Pinned:
    """``synthesis`` on the pins of ``board``; UserError names ports that the board has no pin for."""
    architecture = architecture_of(device)
    netlist = Netlist.load(synthesis.netlist, top=synthesis.top, architecture=architecture)
    missing, lines = [], []
    for name, _, width in netlist.ports():
        pin = board.pins.get(name)
        if pin is None or len(pin.bits) < width:
            missing.append(f"{name}[{width}]" if width > 1 else name)
            continue
        for i, site in enumerate(pin.bits[:width]):
            port = f"{name}[{i}]" if width > 1 else name
            lines += _pin_lines(device, port, site, {**board.io, **pin.io}, pin.mhz)
    if missing:
        raise UserError(f"board {board.board} has no pins for {', '.join(missing)}; "
                        f"it has {', '.join(board.pins)}")
    text = "".join(f"{line}\n" for line in lines)
    return Pinned(synthesis.netlist, content_key([synthesis.key, text]), text, None)


def _pin_lines(device: Device, port: str, site: str, io: dict[str, str], mhz: int) -> list[str]:
    if device.architecture == "ice40":
        return [f"set_io {port} {site}"] + ([f"set_frequency {port} {mhz}"] if mhz else [])
    settings = " ".join(f"{key}={value}" for key, value in io.items())
    lines = [f'LOCATE COMP "{port}" SITE "{site}";', f'IOBUF PORT "{port}" {settings};']
    return lines + ([f'FREQUENCY PORT "{port}" {mhz} MHZ;'] if mhz else [])


def _clock_constraint(device: Device) -> str:
    if device.architecture == "ice40":
        return f"set_frequency clk {device.aim_mhz}\n"
    return f'FREQUENCY PORT "clk" {device.aim_mhz} MHZ;\n'


def _blackbox(netlist: Netlist) -> str:
    """The design as an empty module, for mapping the harness."""
    lines = ["attribute \\blackbox 1", f"module \\{netlist.top}"]
    lines += [f"  wire width {width} {direction} {number} \\{name}"
              for number, (name, direction, width) in enumerate(netlist.ports(), start=1)]
    return "\n".join(["", *lines, "end", ""])
