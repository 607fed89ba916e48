"""``tilewright run``: a program of jobs on the golden model, the simulated RTL or a board."""

from pathlib import Path
from typing import Annotated

import typer
from tilewright.commands.build import BuildRoot
from tilewright.options import AsJson, DesignFile, Overrides


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def run(
        design_file: DesignFile,
        overrides: Overrides,
        data: Annotated[Path, typer.Option(
            "--data", metavar="FILE.npz", show_default=False,
            help="Arguments of each job by name and number, as the family's page describes them: a_0, b_0, ..., a_1, ...")],
        backend: Annotated[str, typer.Option(
            help="golden, sim (compiled RTL), cocotb, or board.")] = "golden",
        out: Annotated[Path | None, typer.Option(
            "--out", metavar="FILE.npz", show_default=False,
            help="Where results go: c_0, c_1, ...; default: FILE.out.npz beside the data.")] = None,
        port: Annotated[str | None, typer.Option(
            help="Serial port of the board.", show_default=False)] = None,
        build_dir: BuildRoot = Path("build"),
        as_json: AsJson = False,
    ) -> None:
        """Run a program of jobs and write the results; a build of the design keeps what the report shows of them."""
        from tilewright.build import keep_result
        from tilewright.console import emit, progress, rows
        from tilewright.design import load_design
        from tilewright.driver import open_driver, runtime_of
        from tilewright.errors import UserError
        from tilewright.run import accuracy, check_labels, compare, read_program, write_arrays

        design = load_design(design_file, overrides)
        runtime = runtime_of(design)
        program = read_program(data, runtime.arguments, dimensions=runtime.dimensions)
        with progress.status(f"run on {backend}") as status:
            driver = open_driver(design, backend, root=build_dir, port=port,
                                 progress=lambda text: status.update(f"run on {backend}: {text}"))
            try:
                jobs = driver.jobs(program.jobs)
            except ValueError as error:
                raise UserError(f"{data}: {error}") from None
            shapes = [driver.backend.runtime.shape(job) for job in jobs]
            check_labels(data, program, [driver.backend.runtime.result_shape(job) for job in jobs])
            done = driver.execute(jobs)
        target = out or data.with_name(f"{data.stem}.out.npz")
        write_arrays(target, {f"c_{number}": output for number, output in enumerate(done.outputs)})
        right = accuracy(program, done.outputs)
        payload = {
            "backend": backend, "jobs": len(jobs), "outputs": str(target), "cycles": sum(done.cycles),
            "seconds": round(done.seconds, 3), "accuracy": right, "measured": done.measured,
            "job_cycles": [{**shape, "cycles": cycles}
                           for shape, cycles in zip(shapes, done.cycles, strict=True)],
        }
        keep_result(design, build_dir, "run", payload)
        origin = "measured" if done.measured else "cycle model"
        lines = [("run", design.name, f"{len(jobs)} jobs on {backend}, {done.seconds:.2f} s"),
                 ("cycles", str(sum(done.cycles)), origin), ("results", str(target), "")]
        if right is not None:
            lines.append(("accuracy", f"{right:.4f}", f"{sum(map(len, program.labels.values()))} labels"))
        emit(payload, as_json, lambda: rows(lines))
        compare(program, done.outputs)
