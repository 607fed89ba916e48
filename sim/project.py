"""The ``sim/`` part of a build folder: everything that reruns its simulations without Tilewright.

``design.json`` (the ports), ``cosim/`` (the cocotb benches, copied), ``harness.cpp`` (the batch harness),
``waivers.vlt`` (reviewed lint waivers) and a Makefile. The vectors come from the family's stimulus. Where
the top wraps the engine, ``<name>.v`` beside them is the bare engine, which the harness drives.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
from tilewright.sim import verilator
from tilewright.sim.ports import Ports

SHARED = ("__init__", "beats", "cases", "engine_bench", "results", "streams")  # modules of ``cosim`` that belong to no family


def simulation_files(
    ports: Ports, *, harness: Mapping[str, Any], modules: Sequence[str], benches: Sequence[str]
) -> dict[str, str]:
    """Path in the build folder -> text, for every file of ``sim/`` but the vectors.

    ``harness`` is what :func:`tilewright.sim.harness.harness_context` made of the streams, ``modules`` are the family's
    own modules of ``tilewright.sim.cosim``, ``benches`` those that apply to the top.
    """
    cosim, templates = files("tilewright.sim.cosim"), files("tilewright.templates") / "sim"
    texts = {f"sim/cosim/{name}.py": (cosim / f"{name}.py").read_text() for name in (*SHARED, *modules)}
    texts["sim/design.json"] = ports.to_json()
    texts["sim/harness.cpp"] = _render("harness.cpp.j2", **harness)
    texts["sim/Makefile"] = _render("Makefile.j2", **_makefile_values(ports, benches))
    texts["sim/waivers.vlt"] = (templates / "waivers.vlt").read_text()
    return texts


def _render(name: str, **values: Any) -> str:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        autoescape=False)
    template = environment.from_string((files("tilewright.templates") / "sim" / name).read_text())
    return template.render(**values)


def _makefile_values(ports: Ports, benches: Sequence[str]) -> dict[str, str]:
    return {
        "design": ports.design,
        "module": ports.module,
        "engine_bench": ports.bench,
        "top_bench": benches[0],
        "verilate_flags": " ".join(verilator.VERILATE_FLAGS),
        "fast_flags": " ".join(verilator.OPTIMIZED.model),
        "slow_flags": " ".join(verilator.SLOW_FLAGS),
        "common_flags": " ".join(verilator.COMMON_FLAGS),
    }
