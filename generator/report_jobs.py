"""Where the cycles of jobs went, and how near each came to the roof.

A job is a mapping: the fields that the design file writes; ``cycles`` from the end of the job before to
its own; where known, ``model`` (what the cycle model says of ``cycles``), ``first_step``, ``last_step`` and
``done`` (counted from the first job), ``active``, ``input_stall``, ``output_stall`` (counters), ``label``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tilewright import report_roofline, report_svg
from tilewright.portrait import Portrait
from tilewright.report_words import count, share

Json = dict[str, Any]
Job = Mapping[str, Any]

MOST_JOBS = 24
MOST_DOTS = 12


def part_words(portrait: Portrait) -> dict[str, str]:
    """CSS class of a part of a job's time, and what the legend calls it."""
    return {
        "fill": f"filling the {portrait.engine}",
        "useful": "multiplying",
        "ragged": portrait.padding,
        "overhead": portrait.idle,
        "input-stall": "stalled on operands",
        "output-stall": "stalled on the consumer",
        "drain": "draining results, while the next job computes",
    }


def verified_jobs(verify: Json | None, workload: Sequence[Job]) -> list[Json]:
    """The workload as verify measured it with ports that never stall."""
    entries = (verify or {}).get("cycles") or []
    if len(entries) != len(workload):
        return []
    schedule = ("model", "first_step", "last_step", "done")
    return [
        {**job, "cycles": entry["measured"], **{key: entry[key] for key in schedule if key in entry}}
        for job, entry in zip(workload, entries, strict=True)
        if entry.get("measured")
    ]


def run_jobs(run: Json | None) -> list[Json]:
    """Jobs of a run whose cycles are known."""
    return [job for job in (run or {}).get("job_cycles") or [] if job.get("cycles")]


def job_figures(portrait: Portrait, job: Job) -> Json:
    """A job with what follows from its cycles, for ``report.json``."""
    work = portrait.work(job)
    ideal = work.macs / portrait.macs_per_cycle
    return {
        **job,
        "macs": work.macs,
        "bytes": work.bytes_moved,
        "ideal": ideal,
        "utilization": round(ideal / job["cycles"], 6),
    }


def is_scheduled(job: Job) -> bool:
    """Whether the job's place in time is known to the cycle."""
    return all(job.get(key) is not None for key in ("first_step", "last_step", "done"))


def job_parts(portrait: Portrait, job: Job, free: int) -> tuple[int, dict[str, float]]:
    """When the job's bar begins, and its parts in cycles, in the order in which they are drawn.

    ``free`` is the cycle in which the engine was done with the job before. A job whose schedule is known
    reaches from there until its last result left; of another one only totals are known, which add up
    to its ``cycles``.
    """
    work = portrait.work(job)
    useful, padded = work.macs / portrait.macs_per_cycle, work.padded_macs / portrait.macs_per_cycle
    if is_scheduled(job):
        begin = min(free, job["first_step"])
        span = job["last_step"] + 1 - job["first_step"]
        useful = min(useful, span)
        padded = min(max(padded, useful), span)
        return begin, {
            "fill": job["first_step"] - begin,
            "useful": useful,
            "ragged": padded - useful,
            "overhead": span - padded,
            "drain": max(job["done"] - job["last_step"] - 1, 0),
        }
    cycles = job["cycles"]
    active = padded if job.get("active") is None else job["active"]
    useful = min(useful, cycles)
    active = min(max(active, useful), cycles)
    left = cycles - active
    input_stall = min(job.get("input_stall") or 0, left)
    output_stall = min(job.get("output_stall") or 0, left - input_stall)
    return free, {
        "useful": useful,
        "ragged": active - useful,
        "overhead": left - input_stall - output_stall,
        "input-stall": input_stall,
        "output-stall": output_stall,
    }


def _placed(portrait: Portrait, jobs: Iterable[Job]) -> list[tuple[Job, int, dict[str, float]]]:
    placed, free = [], 0
    for job in jobs:
        begin, parts = job_parts(portrait, job, free)
        free = job["last_step"] + 1 if is_scheduled(job) else free + job["cycles"]
        placed.append((job, begin, parts))
    return placed


def _legend(words: Mapping[str, str], jobs: Iterable[Mapping[str, float]]) -> list[Json]:
    """The parts that occur in any of ``jobs``, in the order of ``words``."""
    present = {part for parts in jobs for part, cycles in parts.items() if cycles > 0}
    return [{"class": part, "words": text} for part, text in words.items() if part in present]


def timeline(portrait: Portrait, jobs: Sequence[Job], *, title: str, note: str) -> Json:
    """A bar for each of ``jobs``, all on one axis of cycles."""
    words = part_words(portrait)
    placed = _placed(portrait, jobs[:MOST_JOBS])
    total = max(begin + sum(parts.values()) for _, begin, parts in placed)
    rows = []
    for job, begin, parts in placed:
        work = portrait.work(job)
        model = job.get("model")
        segments = [
            (part, cycles / total, f"{words[part]}: {count(cycles)} cycles") for part, cycles in parts.items()
        ]
        rows.append(
            {
                "label": job.get("label") or "",
                "name": work.name,
                "note": work.note,
                "bar": report_svg.stacked_bar(segments, start=begin / total),
                "cycles": count(job["cycles"]),
                "utilization": share(work.macs / portrait.macs_per_cycle / job["cycles"]),
                "model": None if model is None else count(model),
                "exact": model == job["cycles"],
            }
        )
    cycles = sum(job["cycles"] for job in jobs)
    macs = sum(portrait.work(job).macs for job in jobs)
    return {
        "title": title,
        "note": note,
        "rows": rows,
        "legend": _legend(words, (parts for _, _, parts in placed)),
        "axis": report_svg.axis(total, unit="cycles"),
        "scheduled": all(is_scheduled(job) for job, _, _ in placed),
        "left_out": len(jobs) - len(placed),
        "cycles": count(cycles),
        "has_model": any(row["model"] is not None for row in rows),
        "utilization": share(macs / portrait.macs_per_cycle / cycles),
    }


def roofline(portrait: Portrait, jobs: Iterable[Job]) -> Json | None:
    """Each different job as a dot below the roof, up to ``MOST_DOTS``."""
    rows: list[Json] = []
    dots: list[tuple[str, float, float]] = []
    for job in jobs:
        work = portrait.work(job)
        name = ", ".join(filter(None, (work.name, work.note)))
        dot = (name, work.macs / work.bytes_moved, work.macs / job["cycles"])
        if dot in dots or len(dots) == MOST_DOTS:
            continue
        dots.append(dot)
        _, intensity, rate = dot
        roof = min(portrait.macs_per_cycle, portrait.bytes_per_cycle * intensity)
        rows.append(
            {
                "name": work.name,
                "note": work.note,
                "intensity": f"{intensity:.1f}",
                "rate": f"{rate:.1f}",
                "of_roof": share(rate / roof),
            }
        )
    if not dots:
        return None
    return {
        "chart": report_roofline.roofline(
            dots, peak=portrait.macs_per_cycle, bandwidth=portrait.bytes_per_cycle
        ),
        "rows": rows,
        "bandwidth": f"{portrait.bytes_per_cycle:g}",
        "knee": f"{portrait.macs_per_cycle / portrait.bytes_per_cycle:.2g}",
    }
