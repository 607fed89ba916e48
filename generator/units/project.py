"""Writes the folder of a unit: Verilog, HLS C++, harness, vectors; everything its proof needs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tilewright.emit import rtlil_to_verilog
from tilewright.files import replaced_folder, write_file
from tilewright.hls import COMMON_FILES, check_value, cpp_environment
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.units.base import Parameters, Unit
from tilewright.units.fields import (
    WORD_BITS,
    Beats,
    Fields,
    Lanes,
    beat_width,
    beat_words,
    count_beats,
    format_of,
    lanes_of,
    layout,
    pack,
)

SHIM = tuple(path for path in COMMON_FILES if path.startswith("ap_shim/") and "axi" not in path)
COCOTB_FILES = ("__init__.py", "streams.py", "results.py", "unit_tests.py")
LONGEST_FOLDER_NAME = 80
GENERIC, ECP5 = "generic", "ecp5"


@dataclass(frozen=True)
class Case:
    """Beats in, the golden model's answer, and when it comes."""

    beats: Beats
    results: Beats
    cycles: NDArray[np.int64]  # of each result, none stalled, from that of the first beat


@dataclass(frozen=True)
class Project:
    """The written folder of a unit and its parameters."""

    folder: Path
    unit: Unit[Any]
    parameters: Parameters
    cases: Mapping[str, Case]
    targets: tuple[str, ...] = (GENERIC,)

    def sources(self, target: str = GENERIC) -> list[Path]:
        """Verilog of the unit as it is for a target, and the models of the cells it instantiates."""
        rtl = self.folder / "rtl"
        if target == GENERIC:
            return [rtl / f"{self.unit.name}.v"]
        return [rtl / f"{self.unit.name}_{target}.v", rtl / f"{target}_models.v"]

    @property
    def specification(self) -> Path:
        """Verilog of the specification; only where the unit has one."""
        return self.folder / "formal" / "specification.v"

    def vectors(self, case: str) -> Path:
        """Folder of a case: ``in.bin``, ``out.bin``, ``cycles.bin``."""
        return self.folder / "sim" / "vectors" / case


def variant_name(unit: Unit[Any], p: Parameters) -> str:
    """The unit's name, and every parameter that is not at its default."""
    defaults = type(p)()
    changed = [f"{name}_{_plain(value)}" for name, value in p if value != getattr(defaults, name)]
    name = "-".join([unit.name, *changed])
    if len(name) <= LONGEST_FOLDER_NAME:
        return name
    from tilewright.sim.build_cache import content_key

    return f"{unit.name}-{content_key([p.model_dump_json()])[:12]}"


def _plain(value: object) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in str(value)).strip("_").lower()


def make_case(unit: Unit[Any], p: Parameters, beats: Beats) -> Case:
    """Golden answer and schedule of ``beats``; ValueError where a field is not as the unit says."""
    count_beats(unit.input_fields(p), beats)
    results = unit.golden(p, beats)
    answers = count_beats(unit.output_fields(p), results)
    cycles = unit.schedule(p, beats)
    if len(cycles) != answers:
        raise ValueError(f"{unit.name}: a schedule of {len(cycles)} results, the golden model gives {answers}")
    return Case(beats, results, cycles)


def write_project(
    root: Path, unit: Unit[Any], p: Parameters, cases: Mapping[str, Case], *, every_target: bool = False
) -> Project:
    """Write ``root/<variant>``, whole or not at all, with a folder of vectors for each case.

    ``every_target`` adds the Verilog for each target whose datapath differs from the generic one.
    """
    inputs, outputs = unit.input_fields(p), unit.output_fields(p)
    rtlil = {target: _rtlil(unit, p, target) for target in ((GENERIC, ECP5) if every_target else (GENERIC,))}
    targets = tuple(target for target, text in rtlil.items() if target == GENERIC or text != rtlil[GENERIC])
    project = Project(root / variant_name(unit, p), unit, p, cases, targets)
    texts = render(unit, p)
    for target in targets:
        own, *models = (path.relative_to(project.folder).as_posix() for path in project.sources(target))
        texts[own] = rtlil_to_verilog(rtlil[target])
        texts |= {path: (files("tilewright.boards") / Path(path).name).read_text(encoding="utf-8") for path in models}
    sim = files("tilewright.sim") / "cosim"
    texts |= {f"sim/cosim/{name}": (sim / name).read_text(encoding="utf-8") for name in COCOTB_FILES}
    timing = unit.timing(p)
    texts["sim/design.json"] = json.dumps({
        "unit": unit.name, "parameters": p.model_dump(mode="json"), "latency": timing.latency, "interval": timing.interval,
        "input_width": beat_width(inputs), "output_width": beat_width(outputs)}, indent=1) + "\n"
    with replaced_folder(project.folder) as folder:
        for path, text in texts.items():
            write_file(folder / path, text)
        for name, case in cases.items():
            vectors = folder / "sim/vectors" / name
            vectors.mkdir(parents=True)
            pack(inputs, case.beats).tofile(vectors / "in.bin")
            pack(outputs, case.results).tofile(vectors / "out.bin")
            case.cycles.astype("<u4").tofile(vectors / "cycles.bin")
    return project


def render(unit: Unit[Any], p: Parameters) -> dict[str, str]:
    """Rendered files of a unit, path to text: HLS function, its types, testbench, Makefile, harness, specification."""
    inputs, outputs = unit.input_fields(p), unit.output_fields(p)
    values: dict[str, Any] = dict(unit.hls_context(p))
    own: dict[str, Any] = {
        "name": unit.name, "input": _described(inputs), "output": _described(outputs),
        "input_words": beat_words(inputs), "output_words": beat_words(outputs),
        "input_last_mask": (1 << (beat_width(inputs) - 1) % WORD_BITS + 1) - 1,
    }
    if taken := sorted(values.keys() & own.keys()):
        raise ValueError(f"{unit.name}: hls_context names {', '.join(taken)}, which the framework gives")
    values |= own
    for key, value in values.items():
        check_value(key, value)
    templates = files("tilewright.templates")
    environment = cpp_environment(templates)
    name = unit.name
    rendered = {target: environment.get_template(template).render(values) for target, template in {
        f"hls/{name}_types.h": "units/types.h.j2",
        f"hls/{name}_tb.cpp": "units/unit_tb.cpp.j2",
        "hls/Makefile": "units/Makefile.j2",
        "sim/harness.cpp": "units/harness.cpp.j2",
    }.items()}
    if (specification := unit.specification(p)) is not None:
        for key, value in specification.context.items():
            check_value(key, value)
        rendered["formal/specification.v"] = environment.get_template(f"units/specification/{name}.v.j2").render(
            values | dict(specification.context), ports=[
                {"name": field, "high": it["width"] * it["lanes"] - 1, "signed": it["signed"] and not it["array"]}
                for fields in (own["input"], own["output"]) for field, it in fields.items()])
    rendered[f"hls/{name}.h"] = environment.from_string(unit.hls_template()).render(values)
    return rendered | {f"hls/{path}": (templates / "hls" / path).read_text(encoding="utf-8") for path in SHIM}


def _described(fields: Fields) -> dict[str, dict[str, Any]]:
    """What the templates see of the fields: HLS type, width, first bit, lanes."""
    described, offset = {}, 0
    for name, field in fields.items():
        number = format_of(field)
        described[name] = {
            "type": "ap_int" if number.signed else "ap_uint", "width": number.width, "offset": offset,
            "lanes": lanes_of(field), "array": isinstance(field, Lanes), "signed": number.signed}
        offset += number.width * lanes_of(field)
    return described


def _rtlil(unit: Unit[Any], p: Parameters, target: str) -> str:
    """RTLIL of the component, whose payloads must be what the binding says they are."""
    component = unit.component(p, target)
    for port, fields in (("i", unit.input_fields(p)), ("o", unit.output_fields(p))):
        shape = component.signature.members[port].signature.members["payload"].shape
        if shape != layout(fields):
            raise ValueError(f"{unit.name}: payload of {port} is {shape}, the binding says {layout(fields)}")
    return to_rtlil(component, name=unit.name)
