"""The ``sim/`` part of a build folder: everything that reruns its simulations without Tilewright.

``design.json`` (the ports), ``cosim/`` (the cocotb benches, copied), ``harness.cpp`` (the batch harness),
``waivers.vlt`` (reviewed lint waivers) and a Makefile. The vectors come from the family's stimulus. Where
the top wraps the engine, ``<name>.v`` beside them is the bare engine, which the harness drives.
"""

from importlib.resources import files
from typing import Any

import jinja2
from tilewright.sim import verilator
from tilewright.sim.cosim.gemm_ports import CHANNEL_FIELDS, JOB_FIELDS, GemmPorts, Lanes

WORD = 32  # the harness keeps a beat as 32-bit words, every port from a word of its own


def simulation_files(ports: GemmPorts) -> dict[str, str]:
    """Path in the build folder -> text, for every file of ``sim/`` but the vectors."""
    texts = {f"sim/cosim/{path.name}": path.read_text()
             for path in files("tilewright.sim.cosim").iterdir() if path.name.endswith(".py")}
    texts["sim/design.json"] = ports.to_json()
    texts["sim/harness.cpp"] = _render("harness.cpp.j2", **harness_values(ports))
    texts["sim/Makefile"] = _render("Makefile.j2", **makefile_values(ports))
    texts["sim/waivers.vlt"] = (files("tilewright.templates") / "sim" / "waivers.vlt").read_text()
    return texts


def _render(name: str, **values: Any) -> str:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        autoescape=False)
    template = environment.from_string((files("tilewright.templates") / "sim" / name).read_text())
    return template.render(**values)


def makefile_values(ports: GemmPorts) -> dict[str, str]:
    """What ``Makefile.j2`` needs."""
    return {
        "design": ports.design,
        "module": ports.module,
        "verilate_flags": " ".join(verilator.VERILATE_FLAGS),
        "fast_flags": " ".join(verilator.FAST_FLAGS),
        "slow_flags": " ".join(verilator.SLOW_FLAGS),
        "common_flags": " ".join(verilator.COMMON_FLAGS),
    }


def harness_values(ports: GemmPorts) -> dict[str, Any]:
    """What ``harness.cpp.j2`` needs: names, words and bits, ready to print."""
    job_ports, job_words = _columns(ports.job)
    operands = [_operand(ports, "act", ports.act), _operand(ports, "weight", ports.weight)]
    if ports.channel:
        channel_ports, words = _columns(ports.channel)
        operands.append({
            "name": "channel", "label": "Channel", "ports": channel_ports,
            "words": words + 1, "last_word": words,
            "beats": _beats(ports, "channel"), "places": _places(channel_ports, CHANNEL_FIELDS)})
    keep_word = _words(ports.result.lanes * ports.result.width)
    return {
        "design": ports.design,
        "job": {"ports": job_ports, "words": job_words, "places": _places(job_ports, JOB_FIELDS)},
        "operands": operands,
        "result": {
            "lanes": ports.result.lanes, "width": ports.result.width, "signed": ports.result.signed,
            "keep_word": keep_word, "last_word": keep_word + _words(ports.result.lanes),
            "beats": _beats(ports, "result")},
    }


def _operand(ports: GemmPorts, name: str, lanes: Lanes) -> dict[str, Any]:
    last_word = _words(lanes.lanes * lanes.width)
    return {
        "name": name, "label": name.capitalize(), "words": last_word + 1, "last_word": last_word,
        "ports": [{"name": "data", "word": 0}, {"name": "last", "word": last_word}],
        "beats": _beats(ports, name), "places": f"lanes({lanes.lanes}, {lanes.width})"}


def _columns(fields: dict[str, int]) -> tuple[list[dict[str, Any]], int]:
    """Ports that each hold one number of a line, and the words they take together."""
    columns, word = [], 0
    for name, width in fields.items():
        columns.append({"name": name, "word": word, "width": width})
        word += _words(width)
    return columns, word


def _places(columns: list[dict[str, Any]], order: tuple[str, ...]) -> str:
    """C++ initializer: where each column of a text line goes; columns without a port go nowhere."""
    place = {column["name"]: f"{{{column['word'] * WORD}, {column['width']}}}" for column in columns}
    return "{" + ", ".join(place.get(name, "{0, 0}") for name in order) + "}"


def _beats(ports: GemmPorts, stream: str) -> str:
    """C++ expression: beats of ``stream`` for ``job``."""
    tiled, tile, times = ports.beats[stream]
    count = f"tiles(job.{tiled}, {tile})" + (f" * job.{times}" if times else "")
    return f"job.reuse_weights ? 0 : {count}" if stream in ("weight", "channel") else count


def _words(bits: int) -> int:
    return -(-bits // WORD)
