"""``tilewright verify``: RTL, HLS C++ and golden model against each other."""

import json
from pathlib import Path
from typing import Annotated

import typer
from tilewright.commands.build import BuildRoot
from tilewright.options import AsJson, DesignFile, Overrides

STRESS_RUNS = 20


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def verify(
        design_file: DesignFile, overrides: Overrides, build_dir: BuildRoot = Path("build"),
        seed: Annotated[int, typer.Option(help="Seed of the stalls; a failure names it.", min=0)] = 1,
        stress: Annotated[bool, typer.Option("--stress", help=f"{STRESS_RUNS} stalled runs for one.")] = False,
        waves: Annotated[bool, typer.Option("--waves", help="Leave sim/dump.vcd of the cocotb run.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """Prove that RTL and HLS C++ equal the golden model bit for bit, and the cycle model the counters."""
        from tilewright.build import build as build_folder
        from tilewright.console import console, emit, progress, rows
        from tilewright.design import load_design
        from tilewright.errors import CheckFailed
        from tilewright.files import write_file
        from tilewright.verify import verify as verify_build

        built = build_folder(load_design(design_file, overrides), build_dir)
        with progress.status("verify") as status:
            outcome = verify_build(built, seed=seed, stress=STRESS_RUNS if stress else 1, waves=waves,
                                   progress=lambda text: status.update(f"verify: {text}"))
        payload = outcome.payload()
        write_file(built.folder / "report" / "verify.json", json.dumps(payload, indent=1) + "\n")

        def render() -> None:
            rows([("check", "", "values", "seconds"),
                  *((check.name, "ok" if check.passed else "FAILED", str(check.vectors), f"{check.seconds:.2f}")
                    for check in outcome.checks)])
            if outcome.cycles:
                rows([("job", "model", "measured", "ideal"),
                      *((at["job"], str(at["model"]), str(at["measured"]), f"{at['ideal']:g}") for at in outcome.cycles)])
            values = sum(check.vectors for check in outcome.checks)
            console.print(f"{'passed' if outcome.passed else 'FAILED'}: {len(outcome.checks)} checks, {values} values, "
                          f"{outcome.seconds:.1f} s")

        emit(payload, as_json, render)
        if not outcome.passed:
            raise CheckFailed(outcome.first_divergence or "a check failed")
