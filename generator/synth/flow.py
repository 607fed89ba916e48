"""From a design to netlist, routed Fmax and bitstream: what ``tilewright synth`` does."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tilewright.design import Design
from tilewright.devices import Board, Device
from tilewright.families import family_of
from tilewright.synth.architecture import architecture_of
from tilewright.synth.critical_path import CriticalPath, cell_resolver, critical_path
from tilewright.synth.netlist import Counts, Netlist
from tilewright.synth.nextpnr import nextpnr_version, pack_bitstream
from tilewright.synth.pins import INSIDE, on_board, with_harness
from tilewright.synth.route import Routed, Watch, route
from tilewright.synth.synthesize import Synthesis, block_namer, synthesize
from tilewright.synth.yosys import yosys_version

Say = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """A device alone, or a device on a board with its clock in MHz."""

    device: Device
    board: Board | None = None

    @property
    def name(self) -> str:
        return self.board.board if self.board else self.device.device

    @property
    def clock_mhz(self) -> int | None:
        """The board's clock."""
        return self.board.clock[1] if self.board else None


@dataclass(frozen=True)
class Outcome:
    """What came of a synthesis."""

    target: Target
    synthesis: Synthesis
    harness: Counts | None
    wanted_seeds: tuple[int, ...]
    routed: list[Routed]
    critical: CriticalPath | None
    bitstream: Path | None
    seconds: float
    messages: list[str] = field(default_factory=list)   # why it did not pass

    @property
    def fmax_mhz(self) -> list[float]:
        return [run.fmax_mhz for run in self.routed]

    @property
    def median_mhz(self) -> float | None:
        return round(median(self.fmax_mhz), 2) if self.routed else None

    @property
    def passed(self) -> bool:
        return not self.messages

    def payload(self) -> dict[str, Any]:
        """What ``synth --json`` prints, but for the workload."""
        device, total = self.target.device, self.synthesis.total
        resources = device.resources.model_dump()
        return {
            "device": device.device, "board": self.target.board and self.target.board.board,
            "passed": self.passed, "seeds": [run.seed for run in self.routed], "fmax_mhz": self.fmax_mhz,
            "fmax_median_mhz": self.median_mhz, "clock_mhz": self.target.clock_mhz, **total,
            "available": {name: count for name, count in resources.items() if count},
            "lut_sites": architecture_of(device).sites(total),
            "packed_registers": self.synthesis.packed_registers,
            "blocks": [{"name": name, **counts} for name, counts in self.synthesis.blocks.items()],
            "harness": self.harness,
            "critical_path": self.critical.as_payload() if self.critical else [],
            "bitstream": str(self.bitstream) if self.bitstream else None,
            "netlist": str(self.synthesis.netlist),
            "seconds": {"total": round(self.seconds, 1), "synthesis": self.synthesis.seconds,
                        "routing": [run.seconds for run in self.routed]},
            "tools": {"pyosys": yosys_version(), "nextpnr": nextpnr_version(device)},
            "messages": self.messages,
        }


def run(design: Design, target: Target, *, seeds: Sequence[int], cache: Path, results: Path,
        time_limit: float, jobs: int | None = None, say: Say = lambda text: None,
        watch: Watch = lambda phases, predicted: None) -> Outcome:
    """Synthesize ``design`` for ``target`` and route it with every seed.

    On a board the design is what the family makes for boards, and its bitstream, of the fastest seed, lands
    in ``results``. For a device alone it is the design's own top behind a pin harness, which is counted
    apart. Every stage is kept in ``cache``; an interrupted call continues where it was.
    """
    start = time.monotonic()
    device, board = target.device, target.board
    nextpnr_version(device)  # missing: said before anything runs
    family, architecture = family_of(design.spec), architecture_of(device)
    if board:
        rtlil = family.board_rtlil(design.spec, design.content_hash, clock_hz=board.clock[1] * 1_000_000,
                                   leds_low=board.leds_low, target=architecture.target)
    else:
        rtlil = family.rtlil(design.spec, design.content_hash, target=architecture.target)
    say(f"synthesis for {device.device}")
    blocks = family.blocks(design.spec)
    synthesis = synthesize(rtlil, top=design.name, device=device, blocks=blocks, cache=cache,
                           seconds=max(1.0, time_limit - (time.monotonic() - start)))
    if board:
        pinned = on_board(synthesis, board=board, device=device)
    else:
        pinned = with_harness(synthesis, device=device, cache=cache)
    cells = sum(synthesis.total.values()) + sum((pinned.harness or {}).values())
    say(f"place and route, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}")
    left = time_limit - (time.monotonic() - start)
    routed = route(pinned, device=device, seeds=seeds, cells=cells, cache=cache, watch=watch, seconds=left,
                   jobs=jobs or min(len(seeds), os.cpu_count() or 1))
    critical = None
    if routed:
        critical = _critical(synthesis, blocks, routed, inside="" if board else INSIDE, device=device)
    bitstream = None
    if board and routed:
        say("bitstream")
        bitstream = _bitstream(max(routed, key=lambda run: run.fmax_mhz), device, results, target.name)
    return Outcome(target, synthesis, pinned.harness, tuple(seeds), routed, critical, bitstream,
                   time.monotonic() - start, _complaints(target, seeds, routed, time_limit))


def _critical(synthesis: Synthesis, blocks: Mapping[str, str], routed: Sequence[Routed], *, inside: str,
              device: Device) -> CriticalPath | None:
    """The slowest path of the seed in the middle."""
    netlist = Netlist.load(synthesis.netlist, top=synthesis.top, architecture=architecture_of(device))
    resolve = cell_resolver(netlist.paths(), block_namer(blocks), inside=inside)
    in_order = sorted(routed, key=lambda run: run.fmax_mhz)
    return critical_path(in_order[(len(in_order) - 1) // 2].report, resolve)


def _complaints(target: Target, seeds: Sequence[int], routed: Sequence[Routed],
                time_limit: float) -> list[str]:
    messages = []
    if len(routed) < len(seeds):
        messages.append(f"time limit of {time_limit:g} s reached after {len(routed)} of {len(seeds)} seeds; "
                        "the same command continues with the rest")
    clock = target.clock_mhz
    if clock and routed and median(run.fmax_mhz for run in routed) < clock:
        messages.append(f"{target.name}: routed for {median(run.fmax_mhz for run in routed):.1f} MHz, "
                        f"its clock has {clock} MHz")
    return messages


def _bitstream(best: Routed, device: Device, results: Path, name: str) -> Path:
    """The bitstream of ``best`` as ``results/<name>.bit`` (or .bin), written whole."""
    made = pack_bitstream(device, best.folder)
    results.mkdir(parents=True, exist_ok=True)
    final = results / f"{name}{made.suffix}"
    temporary = results / f".{final.name}.{os.getpid()}"
    temporary.write_bytes(made.read_bytes())
    temporary.replace(final)
    return final
