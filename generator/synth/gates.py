"""Rung four of the ladder: the mapped netlist on the golden vectors, cell by cell under Verilator."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tilewright.design import Design
from tilewright.devices import Device
from tilewright.families import family_of
from tilewright.synth.architecture import architecture_of
from tilewright.synth.simulate import netlist_verilog
from tilewright.synth.synthesize import synthesize

STALLS = (0.0, 0.5)


@dataclass(frozen=True)
class Gates:
    """What the netlist computed: values compared with the golden model, and the first that differs in words."""

    passed: bool
    vectors: int
    seconds: float
    message: str = ""

    def as_payload(self) -> dict[str, Any]:
        """As ``synth --json`` prints it."""
        return asdict(self)


def simulate(design: Design, device: Device, *, folder: Path, cache: Path, seed: int = 1,
             say: Callable[[str], None] = lambda text: None) -> Gates:
    """Map the bare engine of ``design`` to ``device`` and run every vectors folder of its build ``folder``.

    Free running and stalled on every port. The engine is mapped as it is inside any top; where the design's
    own top is the bare engine this is the very netlist that was routed, out of ``cache``.
    """
    from tilewright.sim.runner import build_harness, run_harness

    start = time.monotonic()
    family = family_of(design.spec)
    rtlil = family.stream_rtlil(design.spec, target=architecture_of(device).target)
    synthesis = synthesize(rtlil, top=design.name, device=device, blocks=family.blocks(design.spec), cache=cache)
    say("compile the netlist")
    sources = netlist_verilog(synthesis, device=device, cache=cache)
    harness = build_harness(folder, sources=list(sources), top=design.name, optimize=False)
    values = 0
    for vectors in sorted((folder / "sim/vectors").iterdir()):
        say(f"netlist: {vectors.name}")
        for stall in STALLS:
            run = run_harness(harness, vectors, stall=stall, seed=seed)
            if not run.passed:
                return Gates(False, values, time.monotonic() - start, f"{vectors.name}, stall {stall}: {run.message}")
            values += run.values
    return Gates(values > 0, values, time.monotonic() - start, "" if values else "no value was compared")
