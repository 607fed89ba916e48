"""``tilewright verify``: RTL, HLS C++ and golden model against each other."""

import json
from pathlib import Path
from typing import Annotated

import typer
from tilewright.commands.build import BuildRoot
from tilewright.options import AsJson, Overrides

STRESS_RUNS = 20


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def verify(
        overrides: Overrides,
        design_file: Annotated[Path | None, typer.Argument(
            metavar="[FILE]", help="The design, a YAML file.", show_default=False)] = None,
        unit: Annotated[str | None, typer.Option(
            metavar="NAME", help="Prove a numeric unit instead of a design; `all`: every one.", show_default=False)] = None,
        build_dir: BuildRoot = Path("build"),
        seed: Annotated[int, typer.Option(help="Seed of the stalls; a failure names it.", min=0)] = 1,
        stress: Annotated[bool, typer.Option("--stress", help=f"{STRESS_RUNS} stalled runs for one.")] = False,
        waves: Annotated[bool, typer.Option("--waves", help="Leave sim/dump.vcd of the cocotb run.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """Prove that RTL and HLS C++ equal the golden model bit for bit, and the cycle model what was simulated."""
        from tilewright.errors import CheckFailed, UserError

        if unit is not None:
            if design_file is not None:
                raise UserError(f"verify takes a design FILE or --unit, not both: {design_file} and --unit {unit}")
            if stress or waves:
                raise UserError(f"{'--stress' if stress else '--waves'} is for a design FILE, not for --unit")
            _verify_units(unit, overrides, build_dir, seed, as_json)
            return
        if design_file is None:
            raise UserError("verify needs a design FILE, or --unit NAME")

        from tilewright.build import build as build_folder
        from tilewright.console import console, emit, progress, rows
        from tilewright.design import load_design
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


def _verify_units(name: str, overrides: list[str], build_dir: Path, seed: int, as_json: bool) -> None:
    """Full proofs of a unit and its variants, of one parameter set when there are overrides, or of all units."""
    from tilewright.console import console, emit, progress, rows
    from tilewright.errors import CheckFailed
    from tilewright.units.verify import chosen, payload, prove_all

    work = chosen(name, overrides)
    with progress.status(f"prove {len(work)} configurations") as status:
        proofs = prove_all(work, build_dir, seed=seed, progress=lambda text: status.update(f"prove: {text}"))
    found = payload(proofs)

    def render() -> None:
        table = [("unit", "", "checks", "values", "error", "claimed", "seconds")]
        for proof in proofs:
            measured, claimed = ("", "") if proof.error is None else (
                f"{proof.error['measured']:.3g}", f"{'<= ' if proof.error['bound'] else ''}{proof.error['claimed']:.3g}")
            table.append((proof.variant, "ok" if proof.passed else "FAILED", str(len(proof.checks)),
                          str(sum(check.vectors for check in proof.checks)), measured, claimed, f"{proof.seconds:.1f}"))
        rows(table)
        console.print(f"{'passed' if found['passed'] else 'FAILED'}: {len(proofs)} configurations")

    emit(found, as_json, render)
    if not found["passed"]:
        raise CheckFailed(*(proof.first_divergence for proof in proofs if proof.first_divergence))
