"""From the result files of a build folder to what the report shows of synthesis, verification and digits.

A view is plain data and drawings, ready for the template: every number is formatted here, and a
section without data is ``None``. Nothing is estimated: a figure that no file holds is not shown.
"""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from tilewright import report_svg
from tilewright.portrait import Portrait
from tilewright.report_words import count, seconds, share

Json = dict[str, Any]

MOST_HOPS = 24
BACKENDS = {"sim": "simulated RTL", "cocotb": "RTL under cocotb", "golden": "golden model", "board": "board"}
SHOWN_DIGITS = 60
PIXEL_DIGITS = "0123456789abcdefg"  # a pixel 0..16 as one character

# -- synthesis ------------------------------------------------------------------------------------------

COLORS = 8  # of blocks, in the style sheet

# Columns of the table by block.
CELLS = {
    "lut": "LUT",
    "ff": "Flip-flops",
    "dsp": "Multipliers",
    "bram": "Block RAM",
    "carry": "Carry cells",
    "lutram": "LUT RAM",
    "spram": "Large RAM",
}


def synthesis(synth: Json | None, portrait: Portrait) -> Json | None:
    """Resources against the device, Fmax by seed, blocks, critical path."""
    if not synth:
        return None
    fmax = [value for value in synth.get("fmax_mhz") or [] if value]
    median, clock = synth.get("fmax_median_mhz"), synth.get("clock_mhz")
    workload = synth.get("workload")
    return {
        "device": synth.get("board") or synth.get("device"),
        "part": synth.get("device"),
        "passed": bool(synth.get("passed")),
        "messages": synth.get("messages") or [],
        "resources": _resources(synth),
        "shared_sites": "lut_sites" in synth,
        "blocks": _blocks(synth),
        "path": _critical_path(synth.get("critical_path") or []),
        "median": None if not median else f"{median:.1f}",
        "gops": None if not median else f"{2 * portrait.macs_per_cycle * median / 1000:.1f}",
        "clock": None if not clock else f"{clock:g}",
        "microseconds": None if not workload else f"{workload['microseconds']:g}",
        "runs": len(fmax),
        "bitstream": PurePath(synth["bitstream"]).name if synth.get("bitstream") else None,
        "fmax": report_svg.strip(fmax, median=median, unit="MHz", goal=clock) if fmax and median else None,
    }


def _resources(synth: Json) -> list[Json]:
    """What the design takes of what the device has."""
    available = synth.get("available") or {}
    needed = {"lut": synth.get("lut_sites", synth.get("lut"))}
    needed |= {key: synth.get(key) for key in ("ff", "dsp", "bram", "spram")}
    rows = []
    for key, used in needed.items():
        if used is None or not available.get(key):
            continue
        words, of_device = CELLS[key], used / available[key]
        part = ("used", min(of_device, 1.0), f"{words}: {share(of_device)}")
        rows.append(
            {
                "words": words,
                "used": count(used),
                "available": count(available[key]),
                "share": share(of_device),
                "bar": report_svg.stacked_bar([part], height=12),
            }
        )
    return rows


def _blocks(synth: Json) -> Json | None:
    """The cells of each block, as bars and as a table."""
    blocks = synth.get("blocks") or []
    columns = {key: words for key, words in CELLS.items() if any(block.get(key) for block in blocks)}
    if not columns:
        return None
    bars = []
    for key, words in columns.items():
        total = sum(block.get(key) or 0 for block in blocks)
        parts = [
            (f"block-{index % COLORS}", cells / total, f"{block['name']}: {count(cells)}")
            for index, block in enumerate(blocks)
            if (cells := block.get(key) or 0)
        ]
        bars.append({"words": words, "bar": report_svg.stacked_bar(parts)})
    rows = [
        {
            "name": block["name"],
            "class": f"block-{index % COLORS}",
            "cells": [count(block.get(key) or 0) for key in columns],
        }
        for index, block in enumerate(blocks)
    ]
    return {"columns": list(columns.values()), "rows": rows, "bars": bars}


def _critical_path(hops: Sequence[Json]) -> Json | None:
    """Neighbouring hops in one block are one step: the wires that lead there and within, then the logic."""
    steps: list[Json] = []
    for hop in hops:
        delay = hop.get("delay_ns") or 0.0
        routing = hop.get("kind") == "routing"
        if not steps or steps[-1]["block"] != hop.get("block"):
            steps.append({"block": hop.get("block") or "", "logic": 0.0, "routing": 0.0})
        steps[-1]["routing" if routing else "logic"] += delay
    total = sum(step["logic"] + step["routing"] for step in steps)
    if not total:
        return None
    rows, start = [], 0.0
    for step in steps[:MOST_HOPS]:
        bar = report_svg.stacked_bar(
            [
                ("routing", step["routing"] / total, f"routing {step['routing']:.2f} ns"),
                ("logic", step["logic"] / total, f"logic {step['logic']:.2f} ns"),
            ],
            start=start,
            height=14,
        )
        rows.append(
            {"block": step["block"], "bar": bar, "delay": f"{step['logic'] + step['routing']:.2f} ns"}
        )
        start += (step["logic"] + step["routing"]) / total
    routing_share = sum(step["routing"] for step in steps) / total
    return {
        "rows": rows,
        "total": f"{total:.2f}",
        "routing": share(routing_share, digits=0),
        "left_out": max(len(steps) - MOST_HOPS, 0),
    }


# -- verification ---------------------------------------------------------------------------------------


def verification(verify: Json | None) -> Json | None:
    """The table of checks, the first divergence, the mutations."""
    if not verify:
        return None
    checks = verify.get("checks") or []
    divergence = verify.get("first_divergence")
    if isinstance(divergence, dict):
        divergence = "\n".join(f"{key}: {value}" for key, value in divergence.items())
    mutations = verify.get("mutations") or []
    cycles = verify.get("cycles") or []
    return {
        "passed": bool(verify.get("passed")),
        "groups": _groups(checks),
        "checks": len(checks),
        "held": sum(bool(check.get("passed")) for check in checks),
        "vectors": count(sum(check.get("vectors") or 0 for check in checks)),
        "seconds": seconds(verify.get("seconds") or sum(check.get("seconds") or 0 for check in checks)),
        "divergence": divergence or None,
        "mutations": [{"name": m.get("name", ""), "caught": bool(m.get("caught"))} for m in mutations],
        "caught": sum(bool(m.get("caught")) for m in mutations),
        "cycles_exact": bool(cycles) and all(c.get("model") == c.get("measured") for c in cycles),
        "cycle_jobs": len(cycles),
    }


def _groups(checks: Sequence[Json]) -> list[Json]:
    """Checks of one claim as one row; a check that failed has a row of its own."""
    groups: dict[tuple[str, str], list[Json]] = {}
    for check in checks:
        title, case = _claim(str(check.get("name", "")))
        groups.setdefault((title, "" if check.get("passed") else case), []).append(check)
    rows = []
    for (title, case), members in groups.items():
        vectors = sum(check.get("vectors") or 0 for check in members)
        rows.append(
            {
                "name": f"{title}: {case}" if case else title,
                "passed": bool(members[0].get("passed")),
                "cases": len(members),
                "message": members[0].get("message") or "",
                "vectors": count(vectors) if vectors else "",
                "seconds": seconds(sum(check.get("seconds") or 0 for check in members)),
            }
        )
    return rows


def _claim(name: str) -> tuple[str, str]:
    """What a check claims, and on which case: `rtl == golden: corners`, `cocotb: stalls/pattern=both`."""
    head, _, rest = name.partition(": ")
    if head == "cocotb":
        test, _, case = rest.partition("/")
        return f"{head}: {test.replace('_', ' ')}", case
    return (name, "") if head == "lint" else (head, rest)


# -- digits ---------------------------------------------------------------------------------------------


def backend(result: Json | None) -> str:
    """What a run was on, in words."""
    name = (result or {}).get("backend")
    return BACKENDS.get(str(name), str(name))


def digits(result: Json | None) -> Json | None:
    """The images with what the hardware read in them."""
    if not result or not result.get("pixels"):
        return None
    labels, read = result["labels"], result["predictions"]
    cards = [
        {
            "image": report_svg.ink_png([PIXEL_DIGITS.index(c) for c in text], width=8, levels=16),
            "label": label,
            "read": guess,
            "wrong": label != guess,
        }
        for text, label, guess in zip(result["pixels"], labels, read, strict=True)
    ]
    matrix = [[0] * 10 for _ in range(10)]
    for label, guess in zip(labels, read, strict=True):
        matrix[label][guess] += 1
    right = sum(label == guess for label, guess in zip(labels, read, strict=True))
    equal = result.get("equal_golden")
    return {
        "backend": backend(result),
        "images": len(cards),
        "right": right,
        "accuracy": share(right / len(cards), digits=2),
        "float_accuracy": share(result["float_accuracy"], digits=2) if result.get("float_accuracy") else None,
        "equal_golden": equal,
        "all_equal": equal == len(cards),
        "cards": cards[:SHOWN_DIGITS],
        "mistakes": [card for card in cards if card["wrong"]],
        "confusion": report_svg.confusion(matrix),
    }
