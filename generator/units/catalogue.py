"""The catalogue of units as Markdown: contracts from the code, figures from a measurement."""

import inspect
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from tilewright.units import UNITS
from tilewright.units.base import Error, Parameters, Unit
from tilewright.units.fields import Field, format_of, lanes_of

INTRODUCTION = """\
# Numeric units

Every unit of the library in the configuration of its defaults. All of them are streams: beats in, beats out, any stall on
either side. RTL, golden model and HLS C++ are equal bit for bit: `tilewright verify --unit NAME` proves one,
`make proof` all of them. [`adding-a-unit.md`](adding-a-unit.md) tells what a proof consists of.

This page is written by `python benchmarks/catalogue.py` from the code and from `benchmarks/results/units.json`, which it
measures: cells of the unit alone, and the Fmax to which it routes between registers, {seeds}. An ECP5-85F of speed grade 6
places for {ecp5} MHz, an iCE40 UP5K for {ice40} MHz. LUT counts four-input LUTs, C the carry cells (CCU2C of two bits on
the ECP5, of one on the iCE40), M multipliers (MULT18X18D, SB_MAC16), B block RAMs (16 or 18 kbit, 4 kbit).
Latency is in cycles, from the beat that completes a result to the result; II is cycles between beats.

"""
_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_SECTION = re.compile(r"^(Parameters|Members|Attributes)\n-+$", re.MULTILINE)

Measured = Mapping[str, Mapping[str, Any]]
"""Variant to ``unit``, ``ecp5``, ``ice40`` and ``error``, as ``benchmarks/catalogue.py`` keeps them."""


def markdown(measured: Measured, variants: Mapping[str, tuple[Unit[Any], Parameters]], *, seeds: str,
             aims: Mapping[str, int]) -> str:
    """The whole page. ``variants`` are the measured configurations: every unit's defaults among them."""
    lines = [INTRODUCTION.format(seeds=seeds, **aims), _overview(measured, variants)]
    return "\n".join([*lines, *(_section(unit, measured[unit.name]) for unit in UNITS.values())]).rstrip() + "\n"


def _overview(measured: Measured, variants: Mapping[str, tuple[Unit[Any], Parameters]]) -> str:
    rows = ["| unit | latency, II | error at most | ECP5: LUT, C, FF, M, B | MHz | UP5K: LUT, C, FF, M, B | MHz |",
            "|---|---|---|---|---|---|---|"]
    for name, (unit, p) in variants.items():
        timing, found = unit.timing(p), measured[name]
        title = f"[`{name}`](#{name})" if name in UNITS else f"`{name}`"
        cells = [*_cells(found["ecp5"]), *_cells(found["ice40"])]
        rows.append(f"| {title} | {timing.latency}, {timing.interval} | {_error(found['error'])} | {' | '.join(cells)} |")
    return "\n".join([*rows, ""])


def _cells(found: Mapping[str, Any]) -> tuple[str, str]:
    if "refused" in found:
        return found["refused"].partition("does not ")[1] + found["refused"].partition("does not ")[2].partition("; ")[0], ""
    return ", ".join(str(found.get(name, 0)) for name in ("lut", "carry", "ff", "dsp", "bram")), f"{found['fmax_median_mhz']:g}"


def _error(measured: float | None) -> str:
    return "exact" if measured is None else f"{measured:.3g}"


def _section(unit: Unit[Any], found: Mapping[str, Any]) -> str:
    p = unit.parameters_type()
    timing = unit.timing(p)
    note = f" {timing.note[0].upper()}{timing.note[1:]}." if timing.note else ""
    parts = [
        f"## {unit.name}", f"{unit.title[0].upper()}{unit.title[1:]}. Source: {unit.source}.",
        contract(type(unit.component(p))),
        f"Takes {_fields(unit.input_fields(p))}; gives {_fields(unit.output_fields(p))}. "
        f"Latency {timing.latency}, II {timing.interval}.{note}",
        _parameters(p)]
    claim = unit.error(p)
    if claim is not None:
        parts.append(_claim(unit, claim, found["error"]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _claim(unit: Unit[Any], claim: Error, measured: float) -> str:
    return (f"`{claim.quantity}` stays within {measured:.3g} of zero:\n\n"
            f"![error of {unit.name} over {claim.abscissa}](units/{unit.name}.svg)")


def contract(component: type) -> str:
    """The docstring of a component as Markdown, without its parameters and members."""
    text = _SECTION.split(inspect.getdoc(component) or "")[0]
    text = _ROLE.sub(lambda match: f"``{match[1].rpartition('.')[2]}``", text)
    blocks: list[str] = []
    fenced = False
    for block in text.strip().split("\n\n"):
        if fenced or block.startswith("    "):
            blocks.append(f"```\n{textwrap.dedent(block)}\n```")
            fenced = False
            continue
        block = block.replace("``", "`")
        fenced = block.endswith("::")
        blocks.append(block[:-1] if fenced else block)
    return "\n\n".join(blocks)


def _fields(fields: Mapping[str, Field]) -> str:
    return ", ".join(f"`{name}` {_format(field)}" for name, field in fields.items())


def _format(field: Field) -> str:
    number, lanes = format_of(field), lanes_of(field)
    return f"{f'{lanes} x ' if lanes > 1 else ''}{'int' if number.signed else 'uint'}{number.width}"


def _parameters(p: Parameters) -> str:
    described: Iterable[tuple[str, Any]] = type(p).model_fields.items()
    rows = [f"| `{name}` | {getattr(p, name)} | {field.description or ''} |" for name, field in described]
    return "\n".join(["| parameter | default | |", "|---|---|---|", *rows]) if rows else ""
