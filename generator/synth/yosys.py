"""Run Yosys (the pip package ``pyosys``) in a child process.

An error inside pyosys ends the whole Python process without an exception; a child confines it, and
its return code and log say what happened.
"""

import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata, resources
from pathlib import Path

from tilewright.errors import CheckFailed, ToolError

INSTALL = 'pip install "tilewright[synth]"'
_CHILD = "from pyosys import libyosys; libyosys.run_pass('script run.ys')"


def yosys_version() -> str:
    """Version of the pyosys package. ToolError when it is not installed."""
    try:
        return metadata.version("pyosys")
    except metadata.PackageNotFoundError:
        raise ToolError(f"pyosys is not installed; {INSTALL}") from None


def cell_models(name: str) -> Path:
    """A file of Yosys' own share folder, such as ``ice40/cells_sim.v``."""
    yosys_version()
    path = Path(str(resources.files("pyosys"))) / "share" / name
    if not path.is_file():
        raise ToolError(f"pyosys {yosys_version()} has no {name}; {INSTALL}")
    return path


def run_yosys(commands: Sequence[str], *, folder: Path, log_path: Path | None = None,
              timeout: float | None = None) -> str:
    """Run a script in ``folder`` and return its log.

    ``commands`` name files relative to ``folder``, so the log holds no machine's paths. The script stays
    there as ``run.ys``, the log as ``yosys.log`` or in ``log_path``. A failed run raises ToolError: one line
    with the first error of the log and where the log is; one that takes more than ``timeout`` seconds CheckFailed.
    """
    yosys_version()
    (folder / "run.ys").write_text("\n".join(commands) + "\n", encoding="utf-8")
    log_path = log_path or folder / "yosys.log"
    with log_path.open("wb") as log:
        try:
            code = subprocess.run(
                [sys.executable, "-c", _CHILD], cwd=folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, timeout=timeout, check=False).returncode
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"yosys took longer than {timeout:.0f} s; log: {log_path}") from None
    text = log_path.read_text(encoding="utf-8", errors="replace")
    if code != 0:
        errors = [line.strip() for line in text.splitlines() if line.startswith("ERROR: ")]
        reason = errors[0].removeprefix("ERROR: ") if errors else f"ended with code {code} and no message"
        raise ToolError(f"yosys: {reason}; log: {log_path}")
    return text
