"""``tilewright build``: from the design file to a build folder."""

from pathlib import Path
from typing import Annotated

import typer
from tilewright.options import AsJson, DesignFile, Overrides

BuildRoot = Annotated[Path, typer.Option("--build-dir", help="Where build folders go.")]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def build(design_file: DesignFile, overrides: Overrides, build_dir: BuildRoot = Path("build"),
              as_json: AsJson = False) -> None:
        """Write Verilog, HLS C++, golden vectors, benches and driver of a design."""
        from tilewright.build import build as build_folder
        from tilewright.console import emit, rows
        from tilewright.design import load_design

        built = build_folder(load_design(design_file, overrides), build_dir)
        payload = {"name": built.design.name, "hash": built.design.content_hash, "folder": str(built.folder),
                   "files": built.files, "seconds": round(built.seconds, 3), "fresh": built.fresh}
        state = f"{built.seconds:.2f} s" if built.fresh else "up to date"
        lines = [("build", str(built.folder), f"{len(built.files)} files, {state}"),
                 ("verilog", str(built.folder / "rtl" / f"{built.design.name}.v"), ""),
                 ("hls", str(built.folder / "hls"), "make -C there csim"),
                 ("sim", str(built.folder / "sim"), "make -C there")]
        if any(path.startswith("driver/") for path in built.files):
            lines.append(("driver", str(built.folder / "driver"), ""))
        emit(payload, as_json, lambda: rows(lines))
