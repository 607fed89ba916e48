"""Area and speed of one unit, alone on a device: what the catalogue tells."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tilewright.devices import Device
from tilewright.errors import CheckFailed, ToolError
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.sim.build_cache import content_key
from tilewright.synth.architecture import architecture_of
from tilewright.synth.pins import with_harness
from tilewright.synth.route import route
from tilewright.synth.synthesize import synthesize
from tilewright.synth.yosys import yosys_version
from tilewright.units.base import Parameters, Unit

COLUMNS = ("lut", "carry", "ff", "dsp", "bram")
_CRASH = "yosys: ended with code -11"
# A register without a LUT in front takes a logic cell of its own, which only the placer counts.
_TOO_MANY_CELLS = re.compile(r"Failed to expand region .* of (\d+) ICESTORM_LCs")


def rtl_digest(unit: Unit[Any], p: Parameters, device: Device) -> str:
    """Digest of the RTL that a figure was measured on."""
    return content_key([_rtlil(unit, p, device)])[:16]


def measure(unit: Unit[Any], p: Parameters, device: Device, *, seeds: Sequence[int], cache: Path,
            seconds: float = 1800.0) -> dict[str, Any]:
    """Cells of the unit without the harness around it, and its routed Fmax in MHz with each seed.

    Where it does not fit, or Yosys crashes on it, there is ``refused`` instead: why. Everything is kept in ``cache``.
    """
    rtlil = _rtlil(unit, p, device)
    found: dict[str, Any] = {"device": device.device, "rtl": content_key([rtlil])[:16]}
    start = time.monotonic()
    try:
        synthesis = synthesize(rtlil, top=unit.name, device=device, blocks={}, cache=cache, seconds=seconds)
        pinned = with_harness(synthesis, device=device, cache=cache)
    except CheckFailed as error:
        return {**found, "refused": str(error)}
    except ToolError as error:
        if _CRASH not in str(error):
            raise
        return {**found, "refused": f"{unit.name}: does not map: Yosys {yosys_version()} crashes"}
    cells = {column: synthesis.total[column] for column in COLUMNS if column in synthesis.total}
    try:
        routed = route(pinned, device=device, seeds=seeds, cells=sum(cells.values()), cache=cache, jobs=1,
                       seconds=seconds - (time.monotonic() - start), watch=lambda phases, predicted: None)
    except ToolError as error:
        if (needed := _TOO_MANY_CELLS.search(str(error))) is None:
            raise
        return {**found, "refused": f"{unit.name}: does not fit: {needed[1]} logic cells, {device.resources.lut} there"}
    if len(routed) < len(seeds):
        raise CheckFailed(f"{unit.name} on {device.device}: {len(routed)} of {len(seeds)} seeds routed in {seconds:g} s")
    speeds = [run.fmax_mhz for run in routed]
    return {**found, **cells, "fmax_mhz": speeds, "fmax_median_mhz": round(median(speeds), 1)}


def _rtlil(unit: Unit[Any], p: Parameters, device: Device) -> str:
    return to_rtlil(unit.component(p, architecture_of(device).target), name=unit.name)
