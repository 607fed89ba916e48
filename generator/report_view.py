"""From the JSON files of a build folder to what each section of the report shows.

A view is plain data and drawings, ready for the template: every number is formatted here, and a
section without data is ``None``. Nothing is estimated: a figure that no file holds is not shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tilewright import report_svg
from tilewright.portrait import Portrait

Json = dict[str, Any]

MOST_JOBS = 24
MOST_HOPS = 24
MOST_DOTS = 12
SHOWN_DIGITS = 60
PIXEL_DIGITS = "0123456789abcdefg"  # a pixel 0..16 as one character

# Parts of a job's time in the order in which they are drawn: CSS class and what the legend calls it.
PARTS = (
    ("useful", "multiplying"),
    ("ragged", "ragged edges"),
    ("overhead", "filling, draining, waiting for the first operands"),
    ("input-stall", "stalled on operands"),
    ("output-stall", "stalled on the consumer"),
)


def count(value: float) -> str:
    """A whole number, thousands apart by thin spaces."""
    return f"{value:,.0f}".replace(",", "\u202f")


def share(value: float, *, digits: int = 1) -> str:
    """A share of 1 in percent; never rounded up to 100."""
    scale = 10**digits
    shown = 100 * value
    if value < 1 and round(shown * scale) >= 100 * scale:
        shown = 100 - 1 / scale
    return f"{shown:.{digits}f} %"


def seconds(value: float) -> str:
    """A duration."""
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s" if value < 120 else f"{value / 60:.1f} min"


def shape(job: Mapping[str, Any]) -> str:
    """A job's sizes."""
    return "\u00a0\u00d7\u00a0".join(str(job[size]) for size in ("m", "n", "k"))


# -- where the cycles go --------------------------------------------------------------------------------


def job_parts(portrait: Portrait, job: Mapping[str, Any]) -> dict[str, float]:
    """A job's cycles, split: keys are the classes of ``PARTS``, the sum is ``job['cycles']``."""
    cycles = job["cycles"]
    work = portrait.work(job)
    useful = min(work.macs / portrait.macs_per_cycle, cycles)
    active = job.get("active")
    if active is None:
        active = work.padded_macs / portrait.macs_per_cycle
    active = min(max(active, useful), cycles)
    left = cycles - active
    input_stall = min(job.get("input_stall") or 0, left)
    output_stall = min(job.get("output_stall") or 0, left - input_stall)
    return {
        "useful": useful,
        "ragged": active - useful,
        "overhead": left - input_stall - output_stall,
        "input-stall": input_stall,
        "output-stall": output_stall,
    }


def timeline(portrait: Portrait, jobs: Sequence[Mapping[str, Any]], *, title: str, note: str) -> Json | None:
    """Bars of ``jobs`` one behind the other on one axis of cycles."""
    timed = [job for job in jobs if job.get("cycles")]
    if not timed:
        return None
    shown = timed[:MOST_JOBS]
    total = sum(job["cycles"] for job in shown)
    rows, start = [], 0
    for job in shown:
        parts = job_parts(portrait, job)
        bar = report_svg.stacked_bar(
            [
                (class_, parts[class_] / total, f"{words}: {count(parts[class_])} cycles")
                for class_, words in PARTS
            ],
            start=start / total,
        )
        model = job.get("model")
        rows.append(
            {
                "label": job.get("label") or "",
                "shape": shape(job),
                "bar": bar,
                "cycles": count(job["cycles"]),
                "utilization": share(parts["useful"] / job["cycles"]),
                "reuses": bool(job.get("reuse_weights")),
                "model": None if model is None else count(model),
                "exact": model == job["cycles"],
            }
        )
        start += job["cycles"]
    macs = sum(portrait.work(job).macs for job in timed)
    cycles = sum(job["cycles"] for job in timed)
    return {
        "title": title,
        "note": note,
        "rows": rows,
        "axis": report_svg.axis(total, unit="cycles"),
        "left_out": len(timed) - len(shown),
        "cycles": count(cycles),
        "has_model": any(row["model"] is not None for row in rows),
        "utilization": share(macs / portrait.macs_per_cycle / cycles),
    }


def legend(timelines: Sequence[Json], portrait: Portrait, jobs: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The parts that occur at all."""
    if not timelines:
        return []
    present = {
        class_
        for job in jobs
        if job.get("cycles")
        for class_, cycles in job_parts(portrait, job).items()
        if cycles > 0
    }
    return [{"class": class_, "words": words} for class_, words in PARTS if class_ in present]


def verified_jobs(verify: Json | None) -> list[Json]:
    """The workload as verify measured it, ports never stalling: cycles beside the cycle model's."""
    jobs = []
    for entry in (verify or {}).get("cycles") or []:
        if isinstance(entry.get("job"), dict) and entry.get("measured"):
            jobs.append({**entry["job"], "cycles": entry["measured"], "model": entry.get("model")})
    return jobs


def run_jobs(run: Json | None) -> list[Json]:
    """Jobs of a run that have a shape and a cycle count."""
    jobs = (run or {}).get("jobs")
    if not isinstance(jobs, list):
        return []
    return [job for job in jobs if isinstance(job, dict) and {"m", "n", "k"} <= job.keys()]


def roofline(portrait: Portrait, jobs: Sequence[Mapping[str, Any]]) -> Json | None:
    """Each distinct shape of ``jobs`` as a dot below the roof."""
    rows, dots = [], []
    seen: set[tuple[Any, ...]] = set()
    for job in jobs:
        if not job.get("cycles"):
            continue
        key = (job["m"], job["n"], job["k"], bool(job.get("reuse_weights")), job["cycles"])
        if key in seen or len(dots) == MOST_DOTS:
            continue
        seen.add(key)
        work = portrait.work(job)
        intensity, rate = work.macs / work.bytes_moved, work.macs / job["cycles"]
        roof = min(portrait.macs_per_cycle, portrait.bytes_per_cycle * intensity)
        name = shape(job) + (", weights resident" if key[3] else "")
        dots.append((name, intensity, rate))
        rows.append(
            {
                "shape": name,
                "intensity": f"{intensity:.1f}",
                "rate": f"{rate:.1f}",
                "of_roof": share(rate / roof),
            }
        )
    if not dots:
        return None
    chart = report_svg.roofline(dots, peak=portrait.macs_per_cycle, bandwidth=portrait.bytes_per_cycle)
    return {
        "chart": chart,
        "rows": rows,
        "bandwidth": f"{portrait.bytes_per_cycle:g}",
        "knee": f"{portrait.macs_per_cycle / portrait.bytes_per_cycle:.2g}",
    }


# -- synthesis ------------------------------------------------------------------------------------------

RESOURCES = (
    ("lut", "LUT"),
    ("ff", "Flip-flops"),
    ("dsp", "Multipliers"),
    ("bram", "Block RAM"),
    ("carry", "Carry cells"),
)


def synthesis(synth: Json | None, portrait: Portrait) -> Json | None:
    """Resources against the device, Fmax by seed, blocks, critical path."""
    if not synth:
        return None
    available = synth.get("available") or {}
    blocks = [block for block in synth.get("blocks") or [] if isinstance(block, dict)]
    resources = []
    for key, words in RESOURCES:
        used = synth.get(key)
        if used is None:
            continue
        row = {"words": words, "used": count(used), "available": None, "share": None, "bar": None}
        if available.get(key):
            of_device = used / available[key]
            row |= {
                "available": count(available[key]),
                "share": share(of_device),
                "bar": report_svg.stacked_bar(
                    [("used", min(of_device, 1.0), f"{words}: {share(of_device)}")], height=12
                ),
            }
        resources.append(row)
    fmax = [value for value in synth.get("fmax_mhz") or [] if value]
    median = synth.get("fmax_median_mhz")
    return {
        "device": synth.get("board") or synth.get("device"),
        "part": synth.get("device"),
        "passed": bool(synth.get("passed")),
        "resources": resources,
        "blocks": _blocks(blocks, synth),
        "path": _critical_path(synth.get("critical_path") or []),
        "median": None if not median else f"{median:.1f}",
        "gops": None if not median else f"{2 * portrait.macs_per_cycle * median / 1000:.1f}",
        "clock": None if not synth.get("clock_mhz") else f"{synth['clock_mhz']:g}",
        "runs": len(fmax),
        "bitstream": synth.get("bitstream"),
        "fmax": None
        if not (fmax and median)
        else report_svg.strip(fmax, median=median, unit="MHz", goal=synth.get("clock_mhz")),
    }


def _blocks(blocks: Sequence[Json], synth: Json) -> Json | None:
    columns = [(key, words) for key, words in RESOURCES if any(block.get(key) for block in blocks)]
    if not columns:
        return None
    bars = []
    for key, words in columns:
        total = max(sum(block.get(key) or 0 for block in blocks), synth.get(key) or 0)
        bars.append(
            {
                "words": words,
                "bar": report_svg.stacked_bar(
                    [
                        (
                            f"block-{index % 6}",
                            (block.get(key) or 0) / total,
                            f"{block['name']}: {count(block.get(key) or 0)}",
                        )
                        for index, block in enumerate(blocks)
                    ]
                ),
            }
        )
    rows = [
        {
            "name": block["name"],
            "class": f"block-{index % 6}",
            "cells": [count(block.get(key) or 0) for key, _ in columns],
        }
        for index, block in enumerate(blocks)
    ]
    return {"columns": [words for _, words in columns], "rows": rows, "bars": bars}


def _critical_path(hops: Sequence[Json]) -> Json | None:
    """Neighbouring hops in one block are one step; routing and logic apart."""
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
                ("logic", step["logic"] / total, f"logic {step['logic']:.2f} ns"),
                ("routing", step["routing"] / total, f"routing {step['routing']:.2f} ns"),
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
    checks = [
        {
            "name": check.get("name", ""),
            "passed": bool(check.get("passed")),
            "message": check.get("message") or "",
            "vectors": count(check["vectors"]) if check.get("vectors") else "",
            "seconds": seconds(check["seconds"]) if check.get("seconds") is not None else "",
        }
        for check in verify.get("checks") or []
    ]
    divergence = verify.get("first_divergence")
    if isinstance(divergence, dict):
        divergence = "\n".join(f"{key}: {value}" for key, value in divergence.items())
    mutations = [m for m in verify.get("mutations") or [] if isinstance(m, dict)]
    cycles = verify.get("cycles") or []
    return {
        "passed": bool(verify.get("passed")),
        "checks": checks,
        "held": sum(check["passed"] for check in checks),
        "vectors": count(sum(check.get("vectors") or 0 for check in verify.get("checks") or [])),
        "seconds": seconds(sum(check.get("seconds") or 0 for check in verify.get("checks") or [])),
        "divergence": divergence or None,
        "mutations": [{"name": m.get("name", ""), "caught": bool(m.get("caught"))} for m in mutations],
        "caught": sum(bool(m.get("caught")) for m in mutations),
        "cycles_exact": bool(cycles) and all(c.get("model") == c.get("measured") for c in cycles),
        "cycle_jobs": len(cycles),
    }


# -- digits ---------------------------------------------------------------------------------------------


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
        "backend": result.get("backend"),
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
