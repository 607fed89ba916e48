"""Attention engines under the compiled harness, for tests."""

import re
from pathlib import Path

from gemm_designs import CACHE
from tilewright.build import VECTOR_SEED
from tilewright.design import Design
from tilewright.emit import rtlil_to_verilog
from tilewright.families import family_of
from tilewright.families.attention.hardware import stream_rtlil
from tilewright.families.attention.spec import AttentionSpec
from tilewright.sim.runner import build_harness, run_harness

STALLS = (0.2, 0.5, 0.9)
RESETS = (7, 60, 200)


def simulation(design: Design, folder: Path) -> Path:
    """The folders rtl and sim of the build of ``design``, in ``folder``."""
    family, spec = family_of(design.spec), design.spec
    texts = {f"rtl/{design.name}.v": rtlil_to_verilog(family.stream_rtlil(spec)), **family.sim_files(spec)}
    for vectors in family.vectors(spec, seed=VECTOR_SEED):
        texts |= {f"sim/vectors/{vectors.name}/{path}": text for path, text in vectors.files.items()}
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def prove(design: Design, folder: Path, *, thorough: bool = False) -> int:
    """RTL == golden on the build's vectors: free and on the cycle model's schedule, stalled, reset; values compared.

    Corner cases under every stall and reset, the other vectors under one of each; ``thorough``: these too under every one.
    """
    built = simulation(design, folder)
    harness = build_harness(built, cache=CACHE, optimize=False)
    values = 0
    for vectors in sorted((built / "sim" / "vectors").iterdir()):
        free = run_harness(harness, vectors)
        assert free.passed and free.values, free.message
        assert free.counters["cycles"] == int((vectors / "cycles.txt").read_text())
        values += free.values
        stalls, resets = (STALLS, RESETS) if thorough or vectors.name == "corners" else (STALLS[1:2], RESETS[1:2])
        options = [*({"stall": stall} for stall in stalls),
                   *({"stall": 0.3, "reset_at": cycle} for cycle in resets if cycle < free.counters["cycles"])]
        for option in options:
            run = run_harness(harness, vectors, **option)
            assert run.passed, run.message
            values += run.values
    return values


def memories(spec: AttentionSpec) -> dict[str, tuple[int, int]]:
    """Width and depth of every memory of the RTL, by module and name; modules that stand for rows occur once."""
    found, module = {}, ""
    for line in stream_rtlil(spec).splitlines():
        if line.startswith("module"):
            module = line.split()[1].removeprefix(f"\\{spec.design}_").removeprefix("\\")
        elif match := re.match(r"\s*memory width (\d+) size (\d+) \\(\S+)", line):
            found[f"{module} {match[3]}"] = int(match[1]), int(match[2])
    return found
