"""Several seeds of place and route: cached, in parallel, watched, and stopped at a deadline."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tilewright.devices import Device
from tilewright.errors import TilewrightError
from tilewright.sim.build_cache import cached, content_key
from tilewright.synth.critical_path import fmax_mhz
from tilewright.synth.nextpnr import REPORT, Job, Running, nextpnr_version
from tilewright.synth.pins import Pinned

POLL_SECONDS = 0.2
SECONDS_PER_CELL = 0.012   # of the first run on a machine; afterwards its own history counts
_HISTORY = "route_times.jsonl"
_FORMAT = "1"

Watch = Callable[[Mapping[int, tuple[str, float]], float], None]
"""Called while seeds run: seed to (phase, seconds so far), and the seconds one is predicted to take."""


@dataclass(frozen=True)
class Routed:
    """A routed seed; ``folder`` holds nextpnr's outputs."""

    seed: int
    fmax_mhz: float
    report: Mapping[str, Any]
    folder: Path
    seconds: float
    was_cached: bool


class _StoppedError(Exception):
    """The deadline has passed, or another seed failed."""


def route(pinned: Pinned, *, device: Device, seeds: Sequence[int], cells: int, cache: Path, jobs: int,
          seconds: float, watch: Watch) -> list[Routed]:
    """Route every seed that fits into ``seconds``; those that were routed before cost nothing.

    ``cells`` is the size of the netlist, for the prediction. Seeds that were not reached are missing from
    the result, and a later call continues with them.
    """
    nextpnr_version(device)  # missing: said before anything runs
    deadline = time.monotonic() + seconds
    stop = threading.Event()
    phases: dict[int, tuple[str, float]] = {}
    done: list[Routed] = []
    failures: list[BaseException] = []

    def one(seed: int) -> None:
        try:
            done.append(_route_one(pinned, device, seed, cells, cache, stop, phases))
        except _StoppedError:
            pass
        except BaseException as error:
            failures.append(error)
            stop.set()
        finally:
            phases.pop(seed, None)

    predicted = _predict(cache, device, cells)
    pool = ThreadPoolExecutor(max_workers=max(1, jobs))
    waiting = [pool.submit(one, seed) for seed in seeds]
    try:
        while not all(future.done() for future in waiting):
            time.sleep(POLL_SECONDS)
            watch(dict(phases), predicted)
            if time.monotonic() > deadline:
                stop.set()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    if failures:
        raise next((error for error in failures if isinstance(error, TilewrightError)), failures[0])
    return sorted(done, key=lambda routed: routed.seed)


def _route_one(pinned: Pinned, device: Device, seed: int, cells: int, cache: Path, stop: threading.Event,
               phases: dict[int, tuple[str, float]]) -> Routed:
    key = content_key([_FORMAT, nextpnr_version(device), repr(device), pinned.key, pinned.constraints,
                       str(seed)])
    fresh = False

    def build(folder: Path) -> None:
        nonlocal fresh
        fresh = True
        start = time.monotonic()
        shutil.copyfile(pinned.netlist, folder / "netlist.json")
        (folder / "constraints").write_text(pinned.constraints, encoding="utf-8")
        # The log lies outside: it outlives a failed run, whose folder does not.
        job = Job(device, seed, folder, "netlist.json", "constraints", cache / f"routed-{key}.log")
        if stop.is_set():
            raise _StoppedError
        running = Running(job)
        try:
            while not running.done:
                if stop.wait(POLL_SECONDS):
                    raise _StoppedError
                phases[seed] = (running.phase, time.monotonic() - start)
            running.report()
        finally:
            running.stop()
        (folder / "netlist.json").unlink()
        taken = time.monotonic() - start
        (folder / "seconds").write_text(f"{taken:.1f}", encoding="utf-8")
        run = {"architecture": device.architecture, "cells": cells, "seconds": taken}
        with (cache / _HISTORY).open("a", encoding="utf-8") as history:
            history.write(json.dumps(run) + "\n")

    folder = cached(cache, f"routed-{key}", build)
    report = json.loads((folder / REPORT).read_bytes())
    seconds = float((folder / "seconds").read_text(encoding="utf-8"))
    return Routed(seed, fmax_mhz(report), report, folder, seconds, not fresh)


def _predict(cache: Path, device: Device, cells: int) -> float:
    """Seconds that one seed of ``cells`` cells takes, by the runs before."""
    rates = []
    if (cache / _HISTORY).is_file():
        for line in (cache / _HISTORY).read_text(encoding="utf-8", errors="replace").splitlines()[-20:]:
            try:
                run = json.loads(line)
                if run["architecture"] == device.architecture:
                    rates.append(run["seconds"] / max(run["cells"], 1))
            except (ValueError, KeyError, TypeError):
                continue  # a line that a killed run left half-written
    return cells * (median(rates[-5:]) if rates else SECONDS_PER_CELL)
