"""``tilewright demo``: every command on one design, handwritten digits included, up to the report."""

import contextlib
import io
import json
import shlex
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from tilewright.commands.build import BuildRoot
from tilewright.options import AsJson

FAMILY = "gemm"
BOARD = "ulx3s-85f"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def demo(
        design_file: Annotated[
            Path | None,
            typer.Argument(metavar="[FILE]", help=f"The design; default: what 'tilewright new {FAMILY}' prints."),
        ] = None,
        build_dir: BuildRoot = Path("build"),
        board: Annotated[str, typer.Option(help="Board to route the design for.")] = BOARD,
        seeds: Annotated[int, typer.Option(help="Seeds to place and route.", min=1, max=100)] = 1,
        quick: Annotated[
            bool, typer.Option("--quick", help="Without synthesis, placement and routing.")
        ] = False,
        as_json: AsJson = False,
    ) -> None:
        """Build a design, verify it, read handwritten digits with it, route it, and write the report."""
        from tilewright.console import console, emit
        from tilewright.design import load_design
        from tilewright.errors import CheckFailed, ToolError, UserError

        start = time.monotonic()
        file = str(design_file or _starting_point(build_dir))
        design = load_design(file)
        if design.spec.family != FAMILY:
            raise UserError(f"{file}: family: '{design.spec.family}'; the demo's digits need {FAMILY}")
        folder = build_dir / design.name
        show = Show(quiet=as_json)
        root = ["--build-dir", str(build_dir)] if build_dir != Path("build") else []
        built = show.command("build", file, *root)
        show.say(f"{len(built['files'])} files: Verilog, HLS C++, golden vectors, benches, driver")
        verified = show.command("verify", file, *root)
        if verified:
            show.say(_verified(verified))
        read = _digits(show, design, build_dir)
        if not quick:
            routed = show.command("synth", file, *root, "--board", board, "--seeds", str(seeds))
            if routed:
                show.say(_routed(routed))
        written = show.command("report", file, *root)
        payload = {
            "passed": not show.failed,
            "design": design.name,
            "hash": design.content_hash,
            "folder": str(folder),
            "report": written.get("report"),
            "steps": show.steps,
            "digits": {key: read[key] for key in ("backend", "accuracy", "float_accuracy", "equal_golden")},
            "seconds": round(time.monotonic() - start, 1),
        }

        def render() -> None:
            console.print(
                f"\n{time.monotonic() - start:.0f} s in all. Open the report: {written.get('report')}"
            )

        emit(payload, as_json, render)
        if show.failed:
            worst = ToolError if any(code == ToolError.exit_code for _, code in show.failed) else CheckFailed
            raise worst(f"demo: {', '.join(name for name, _ in show.failed)} failed; the reason stands above")


class Show:
    """Runs commands as a user would type them and tells what came of each."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console
        from tilewright.console import console, progress

        self.console: Console = progress if quiet else console
        self.steps: list[dict[str, Any]] = []
        self.failed: list[tuple[str, int]] = []

    def say(self, text: str) -> None:
        """A line below the command."""
        self.console.print(f"  {text}")

    def step(self, name: str, words: str, exit_code: int, since: float) -> None:
        """Keep what a step came to."""
        seconds = round(time.monotonic() - since, 1)
        self.steps.append({"command": words, "exit_code": exit_code, "seconds": seconds})
        if exit_code:
            self.failed.append((name, exit_code))

    def command(self, name: str, *arguments: str) -> dict[str, Any]:
        """The JSON object of a command, empty where it broke.

        A check that failed or a tool that broke lets the demo go on; wrong input or an interruption ends it.
        """
        from tilewright.cli import main
        from tilewright.errors import CheckFailed, ToolError

        words = f"tilewright {shlex.join([name, *arguments])}"
        self.console.print(f"\n$ {words}", style="bold")
        since = time.monotonic()
        with contextlib.redirect_stdout(io.StringIO()) as output:
            code = main([name, *arguments, "--json"])
        self.step(name, words, code, since)
        if code not in (0, CheckFailed.exit_code, ToolError.exit_code) or (code and name == "build"):
            raise typer.Exit(code)
        payload: dict[str, Any] = json.loads(output.getvalue() or "{}")
        return {} if code == ToolError.exit_code else payload


def _starting_point(build_dir: Path) -> Path:
    """The default design as a file that the commands, and later the user, can read."""
    from tilewright.files import write_file
    from tilewright.starting_point import starting_point

    path = build_dir / f"{FAMILY}.yaml"
    write_file(path, starting_point(FAMILY))
    return path


def _verified(verify: dict[str, Any]) -> str:
    from tilewright.report_words import count

    checks = verify["checks"]
    passed = sum(check["passed"] for check in checks)
    values = sum(check["vectors"] for check in checks)
    exact = all(job["model"] == job["measured"] for job in verify["cycles"])
    return (
        f"{passed} of {len(checks)} checks passed: {count(values)} values of RTL and HLS C++ against golden"
        + (", cycles as modelled" if exact else "")
    )


def _digits(show: Show, design: Any, build_dir: Path) -> dict[str, Any]:
    """Read the digits on the simulated RTL and keep the result for the report."""
    from tilewright.demo import classify_digits
    from tilewright.files import write_file
    from tilewright.report_words import share

    show.console.print("\n360 handwritten digits on the simulated RTL", style="bold")
    since = time.monotonic()
    read = classify_digits(design, root=build_dir)
    write_file(build_dir / design.name / "report" / "digits.json", json.dumps(read) + "\n")
    images = len(read["labels"])
    show.say(
        f"{read['accuracy'] * images:.0f} of {images} read correctly, {share(read['accuracy'], digits=2)}; "
        f"in floating point {share(read['float_accuracy'], digits=2)}"
    )
    show.say(
        f"logits of {read['equal_golden']} of {images} images equal the golden model's, "
        f"{read['cycles']} cycles"
    )
    show.step("digits", "digits", int(read["equal_golden"] != images), since)
    return read


def _routed(synth: dict[str, Any]) -> str:
    size = f"{synth['lut']} LUT, {synth['ff']} FF, {synth['dsp']} multipliers, {synth['bram']} block RAMs"
    if not synth["fmax_median_mhz"]:
        return f"{size} on {synth['device']}; not routed"
    clock = f" (the board's clock: {synth['clock_mhz']} MHz)" if synth["clock_mhz"] else ""
    bitstream = f", bitstream {synth['bitstream']}" if synth["bitstream"] else ""
    return f"{synth['fmax_median_mhz']:.1f} MHz{clock}, {size}{bitstream}"
