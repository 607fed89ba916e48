"""``tilewright synth``: netlist, routed Fmax, bitstream."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from tilewright.commands.build import BuildRoot
from tilewright.options import AsJson, DesignFile, Overrides

DEFAULT_DEVICE = "ecp5-85f"
DEFAULT_TIME_LIMIT = 1800.0


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def synth(
        design_file: DesignFile, overrides: Overrides, build_dir: BuildRoot = Path("build"),
        board: Annotated[str | None, typer.Option(
            help="Board to make a bitstream for.", show_default=False)] = None,
        device: Annotated[str | None, typer.Option(
            help=f"Device to route the design for, alone; {DEFAULT_DEVICE} if not given.",
            show_default=False)] = None,
        seeds: Annotated[int, typer.Option(help="How many seeds to place and route.", min=1, max=100)] = 1,
        seed: Annotated[int, typer.Option(help="The first of them.", min=1, max=1_000_000)] = 1,
        time_limit: Annotated[float, typer.Option(
            help="Seconds for all of it; seeds not reached are left for the next call.",
            min=1)] = DEFAULT_TIME_LIMIT,
        jobs: Annotated[int, typer.Option(help="Seeds at a time; 0 is one per processor.", min=0)] = 0,
        gates: Annotated[bool, typer.Option(
            "--gates", help="Simulate the netlist on the golden vectors, too.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """Synthesize, place and route; utilization by block, routed Fmax and the path that limits it."""
        from tilewright.build import build as build_folder
        from tilewright.console import emit
        from tilewright.design import load_design
        from tilewright.devices import load_board, load_device
        from tilewright.errors import CheckFailed, UserError
        from tilewright.families import family_of
        from tilewright.files import write_file
        from tilewright.synth import flow
        from tilewright.synth.gates import simulate
        from tilewright.synth.progress import Watcher

        if board and device:
            raise UserError("--board and --device: give one of them; a board has its device")
        on = load_board(board) if board else None
        target = flow.Target(load_device(on.device if on else device or DEFAULT_DEVICE), on)
        design = load_design(design_file, overrides)
        if on:
            family_of(design.spec).require_board_top()
        built = build_folder(design, build_dir)
        results = built.folder / "report"
        with Watcher() as watcher:
            outcome = flow.run(
                design, target, seeds=range(seed, seed + seeds), cache=build_dir / ".cache" / "synth",
                results=results, time_limit=time_limit, jobs=jobs or None, say=watcher.say,
                watch=watcher.watch)
            checked = simulate(design, target.device, folder=built.folder, cache=build_dir / ".cache" / "synth",
                               say=watcher.say) if gates else None
        payload = outcome.payload() | {
            "gates": checked and checked.as_payload(), "hash": design.content_hash,
            "workload": _workload(design, outcome.median_mhz)}
        write_file(results / "synth.json", json.dumps(payload, indent=1) + "\n")
        emit(payload, as_json, lambda: _render(outcome, payload))
        if checked and not checked.passed:
            raise CheckFailed(f"the netlist differs from the golden model: {checked.message}")
        if not outcome.passed:
            raise CheckFailed(*outcome.messages)


def _workload(design: Any, fmax_mhz: float | None) -> dict[str, Any] | None:
    """The jobs of the design file at the routed speed: cycles from the cycle model."""
    from tilewright.families import family_of

    jobs = family_of(design.spec).cycles(design.spec)
    if not jobs or not fmax_mhz:
        return None
    cycles = jobs[-1].done
    return {"jobs": len(jobs), "cycles": cycles, "microseconds": round(cycles / fmax_mhz, 2),
            "utilization": round(sum(job.ideal for job in jobs) / cycles, 4)}


def _render(outcome: Any, payload: dict[str, Any]) -> None:
    from tilewright.console import console, rows
    from tilewright.synth.architecture import COLUMNS, architecture_of

    architecture = architecture_of(outcome.target.device)
    columns = [name for name in COLUMNS if any(counts[name] for counts in [outcome.synthesis.total])]
    table = [("block", *(architecture.cell_names[name] for name in columns))]
    table += [(name, *(str(counts[column]) for column in columns))
              for name, counts in outcome.synthesis.blocks.items()]
    table.append(("total", *(str(outcome.synthesis.total[column]) for column in columns)))
    available = payload["available"]
    table.append((outcome.target.device.device, *(str(available.get(column, "")) for column in columns)))
    rows(table)
    console.print(f"{payload['lut_sites']} of {available['lut']} LUT sites, carry cells and LUT RAM included")
    if outcome.harness:
        console.print(f"apart from that: the pin harness, {outcome.harness['lut']} LUT, "
                      f"{outcome.harness['ff']} FF")
    for run in outcome.routed:
        console.print(f"seed {run.seed}: {run.fmax_mhz:.1f} MHz, "
                      f"{'routed before' if run.was_cached else f'{run.seconds:.0f} s'}")
    if outcome.routed:
        clock = f", the board's clock is {outcome.target.clock_mhz} MHz" if outcome.target.clock_mhz else ""
        console.print(f"Fmax {outcome.median_mhz:.1f} MHz, median of {len(outcome.routed)}{clock}")
    if outcome.critical:
        path = outcome.critical
        console.print(f"critical path: {' > '.join(path.blocks)}, {path.delay_ns:.2f} ns, "
                      f"{path.routing_ns / path.delay_ns:.0%} of it wires")
        console.print(f"  from {path.ends[0]}")
        console.print(f"  to   {path.ends[1]}")
    if payload["gates"] and payload["gates"]["passed"]:
        console.print(f"netlist == golden: {payload['gates']['vectors']:,} values".replace(",", " "))
    if payload["workload"]:
        work = payload["workload"]
        console.print(f"workload: {work['jobs']} jobs, {work['cycles']} cycles, {work['microseconds']} us, "
                      f"utilization {work['utilization']:.1%}")
    if outcome.bitstream:
        console.print(f"bitstream {outcome.bitstream}")
