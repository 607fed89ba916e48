"""What the files of an attention build folder mean: ports, jobs, beats and the place of every value.

Plain Python on plain numbers, so that the copy in a build folder runs without Tilewright.
``design.json`` is :class:`AttentionPorts`; a folder of vectors is a :class:`Case`. Heads that share one head of keys and
values are a group of ``g``; row r of kv head h is position ``r // g`` of head ``h * g + r % g``. Order of the beats, each
``lanes`` elements:

=========  =====================================================================
stream     order, outermost first
=========  =====================================================================
q, result  ``order`` rows: kv head, row, chunk of the row
           ``order`` tiles: kv head, tile, head of the group, chunk, position
k          kv head, tile of ``tile_q`` rows, pass of ``passes``, key that the tile meets, chunk;
           schedule window_ring: kv head, key that any query of the job sees, chunk
v          as k, in one pass
k, v       where they are ``cached``: kv head, position of the job's queries, chunk
again      kv head, tile: whether its keys and values come once more, behind the pass
bias       head, distance from query to key; an entry a beat, of jobs that load one
=========  =====================================================================
"""

import json
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import ClassVar

from .beats import Lanes, Place, ResultBeat
from .cases import StreamCase, lines_of

BIAS_LANES = Lanes(lanes=1, width=16, signed=True)
STREAMS = ("q", "k", "v", "result")
AGAIN_COLUMNS = ("again_keys", "again_last")  # of jobs.txt, where tiles may come once more
ERROR_NONE, ERROR_SHAPE, ERROR_Q_LAST, ERROR_K_LAST, ERROR_V_LAST, ERROR_CACHE = range(6)
ERROR_BIAS_LAST, ERROR_NO_BIAS = 6, 7


@dataclass(frozen=True)
class Job:
    """One line of ``jobs.txt``: attention of ``queries`` positions to ``keys``, the last of them with a mask or a cache."""

    queries: int
    keys: int
    score_multiplier: int
    score_shift: int
    out_scale: int
    load_bias: int = 0
    again_keys: int = 0  # that stream once more, with those of all kv heads
    again_last: int = 0  # of them those of the job's last tile

    @property
    def begins(self) -> bool:
        """Whether it brings all keys and values itself also where they are cached."""
        return self.queries == self.keys


@dataclass(frozen=True)
class AttentionPorts:
    """Ports of the engine: all that a bench needs to know about a design.

    ``module`` is the Verilog module with the ``stream`` ports. ``mask`` has the kind of the mask and the numbers window,
    lookahead, sink and prefix, 0 where the kind has none; ``cached`` tells of an engine that keeps keys and values. ``job``
    maps the fields of a job to their widths, in the order of the columns of ``jobs.txt``; ``limits`` has the largest legal
    queries and keys; ``bias``, of the table of a bias, how many heads have one and its entries; ``rotary``, whether positions
    turn queries and keys; ``again``, whether a stream of that name tells of each tile if its keys and values come once more.
    """

    design: str
    module: str
    schedule: str
    head_dim: int
    heads: int
    kv_heads: int
    tile_q: int
    passes: int
    order: str
    mask: dict[str, str | int]
    cached: bool
    limits: dict[str, int]
    job: dict[str, int]
    q: Lanes
    k: Lanes
    v: Lanes
    result: Lanes
    bias: list[int] = field(default_factory=list)
    rotary: bool = False
    again: bool = False

    @property
    def bench(self) -> str:
        """The cocotb module that drives these ports."""
        return "cosim.attention_tests"

    @property
    def inputs(self) -> dict[str, tuple[str, ...]]:
        """Payload fields of the input streams but ``job``."""
        return dict.fromkeys(("q", "k", "v", *(["bias"] if self.bias else [])), ("data", "last"))

    @property
    def outputs(self) -> dict[str, tuple[str, ...]]:
        """Payload fields of the output streams but ``result``."""
        return {"again": ("again", "last")} if self.again else {}

    @property
    def group(self) -> int:
        """Heads that share one head of keys and values."""
        return self.heads // self.kv_heads

    @property
    def chunks(self) -> int:
        """Beats of one query, key, value or result."""
        return self.head_dim // self.q.lanes

    @property
    def needs_positions(self) -> bool:
        """Whether a job must have at least as many keys as queries."""
        return self.mask["kind"] != "none" or bool(self.bias) or self.rotary or self.cached

    @property
    def is_ring(self) -> bool:
        """Whether keys and values come once, into a ring of cores."""
        return self.schedule == "window_ring"

    @property
    def past(self) -> int:
        """Of a ring: the keys up to its own position that a query sees."""
        return int(self.mask["sink"]) + int(self.mask["window"])

    def to_json(self) -> str:
        """Text of ``design.json``."""
        return json.dumps({"ports": "attention_ports", **asdict(self)}, indent=2) + "\n"

    def jobs(self, vectors: Path) -> "list[Job]":
        """The jobs of a vectors folder."""
        return [Job(**dict(zip(self.columns, map(int, line), strict=True))) for line in lines_of(vectors / "jobs.txt")]

    @property
    def columns(self) -> tuple[str, ...]:
        """What the numbers of a line of ``jobs.txt`` are."""
        return (*self.job, *(AGAIN_COLUMNS if self.again else ()))

    def tile_keys(self, job: Job, tile: int) -> int:
        """How many keys tile ``tile`` of a kv head meets."""
        first = tile * self.tile_q
        last = min(first + self.tile_q, job.queries * self.group) - 1
        low, high = (row // self.group + job.keys - job.queries for row in (first, last))
        kind, numbers = self.mask["kind"], ("window", "lookahead", "sink", "prefix")
        window, lookahead, sink, prefix = (int(self.mask[name]) for name in numbers)
        if kind == "none":
            return job.keys
        if kind == "prefix":
            return max(min(prefix, job.keys), high + 1)
        if kind == "causal":
            return high + 1
        return min(high + 1 + lookahead, job.keys) - max(0, low - window + 1 - sink)  # the window's sink is 0

    def tiles(self, job: Job) -> int:
        """Tiles of a kv head."""
        return -(-job.queries * self.group // self.tile_q)

    def count(self, stream: str, job: Job) -> int:
        """Number of beats of ``stream`` that belong to ``job``."""
        if stream in ("q", "result"):
            return job.queries * self.heads * self.chunks
        if stream == "bias":
            return prod(self.bias) if self.bias and job.load_bias else 0
        if stream == "again":
            return self.kv_heads * self.tiles(job) if self.again else 0
        if self.is_ring:
            return self.kv_heads * (min(job.keys - job.queries + 1, self.past) + job.queries - 1) * self.chunks
        if self.cached:
            return self.kv_heads * job.queries * self.chunks
        keys = self.kv_heads * sum(self.tile_keys(job, tile) for tile in range(self.tiles(job)))
        return (keys * (self.passes if stream == "k" else 1) + job.again_keys) * self.chunks

    def index(self, job: Job, beat: int, lane: int) -> tuple[int, int, int]:
        """Head, position among the queries and element in lane ``lane`` of the job's result beat ``beat``."""
        kv_head, row, chunk = self._place(job, beat)
        position, member = divmod(row, self.group)
        return kv_head * self.group + member, position, chunk * self.q.lanes + lane

    def _place(self, job: Job, beat: int) -> tuple[int, int, int]:
        """Kv head, row and chunk of the job's result beat ``beat``."""
        kv_head, beat = divmod(beat, job.queries * self.group * self.chunks)
        if self.order == "rows":
            return kv_head, *divmod(beat, self.chunks)
        tile, beat = divmod(beat, self.tile_q * self.chunks)
        first = tile * self.tile_q // self.group
        member, beat = divmod(beat, self.chunks * min(self.tile_q // self.group, job.queries - first))
        chunk, position = divmod(beat, min(self.tile_q // self.group, job.queries - first))
        return kv_head, (first + position) * self.group + member, chunk

    def unit(self, job: Job, beat: int, lane: int) -> str:
        """The row of multipliers that made this value, and the tile in which it did; of a ring the query that met all cores."""
        _, row, _ = self._place(job, beat)
        if self.is_ring:
            return f"query {row}, lane {lane}"
        return f"tile {row // self.tile_q}, value row {row % self.tile_q}, lane {lane}"

    def divergence(
        self, number: int, job: Job, beat: int, expected: ResultBeat, actual: ResultBeat, cycle: int
    ) -> Place:
        """What is wrong with the job's result beat ``beat``: tensor, job, index, cycle, unit, both values."""
        shape = f"job {number} (queries={job.queries}, keys={job.keys})"
        wanted, got = self.result.unpack(expected[0]), self.result.unpack(actual[0])
        wrong = self.result.first_wrong(expected, actual)
        lane = wrong or 0
        head, position, element = self.index(job, beat, lane)
        unit = self.unit(job, beat, lane)
        if wrong is None:
            text = (f"result of {shape}, beat {beat}, cycle {cycle}: expected keep {expected[1]:b}, last {expected[2]}; "
                    f"got keep {actual[1]:b}, last {actual[2]}, data {got}")
        else:
            text = (f"result[head {head}][position {position}][element {element}] of {shape}, cycle {cycle}, {unit}: "
                    f"expected {wanted[lane]}, got {got[lane]}")
        return Place(index=(head, position, element), lane=wrong, unit=unit, expected=wanted[lane], actual=got[lane],
                     text=text)


@dataclass(frozen=True, kw_only=True)
class Case(StreamCase):
    """The files of one vectors folder, beats packed as they appear on the ports."""

    STREAMS: ClassVar[tuple[str, ...]] = (*STREAMS, "bias", "again")
    q: list[int]
    k: list[int]
    v: list[int]
    bias: list[int]
    again: list[tuple[int, int]]  # again, last

    @classmethod
    def load(cls, folder: Path, ports: AttentionPorts) -> "Case":
        """Read a folder; ``ValueError`` when the files do not fit the jobs."""
        def beats(stream: str) -> list[int]:
            return [getattr(ports, stream).pack(map(int, line)) for line in lines_of(folder / f"{stream}.txt")]

        result = []
        for line in lines_of(folder / "result.txt"):
            keep = sum(1 << lane for lane, word in enumerate(line) if word != "-")
            result.append((ports.result.pack(0 if word == "-" else int(word) for word in line), keep))
        cycles = folder / "cycles.txt"
        case = cls(
            name=folder.name, jobs=ports.jobs(folder), q=beats("q"), k=beats("k"), v=beats("v"),
            bias=[BIAS_LANES.pack(map(int, line)) for line in lines_of(folder / "bias.txt")] if ports.bias else [],
            result=result,
            again=[(int(line[0]), int(line[1])) for line in lines_of(folder / "again.txt")] if ports.again else [],
            cycles=int(cycles.read_text()) if cycles.exists() else None)
        for stream in cls.STREAMS:
            expected = sum(ports.count(stream, job) for job in case.jobs)
            if len(getattr(case, stream)) != expected:
                raise ValueError(
                    f"{folder / stream}.txt: {len(getattr(case, stream))} beats; the jobs take {expected}")
        return case

    def last(self, stream: str, ports: AttentionPorts) -> list[int]:
        """As for any stream; a last tile that comes once more is a frame of its own."""
        bits = super().last(stream, ports)
        end = 0
        for job in self.jobs:
            end += ports.count(stream, job)
            if stream in ("k", "v") and job.again_last:
                bits[end - 1 - job.again_last * ports.chunks] = 1
        return bits

    def only(self, number: int, ports: AttentionPorts, *, count: int = 1) -> "Case":
        """``count`` jobs from ``number`` on, without the others, with the bias that counts for the first."""
        alone = super().only(number, ports, count=count)
        if not ports.bias or self.jobs[number].load_bias:
            return alone
        loaded = sum(ports.count("bias", job) for job in self.jobs[:number])
        bias = self.bias[loaded - prod(ports.bias) : loaded]
        first, *others = alone.jobs
        return replace(alone, jobs=[replace(first, load_bias=1), *others], bias=[*bias, *alone.bias])

    def parts(self, ports: AttentionPorts) -> "list[Case]":
        """Its jobs, each alone; where keys are cached each with those that go on with its sequence."""
        edges = [number for number, job in enumerate(self.jobs) if job.begins or not ports.cached]
        return [self.only(first, ports, count=end - first) for first, end in pairwise([*edges, len(self.jobs)])]


def load_ports(path: Path) -> AttentionPorts:
    """The ports that ``design.json`` describes; those with key tiles are :class:`FusedPorts`."""
    values = json.loads(path.read_text())
    kind: type[AttentionPorts] = AttentionPorts
    if "cols" in values:
        from .attention_fused2d_ports import FusedPorts

        kind = FusedPorts
    for name in STREAMS:
        values[name] = Lanes(**values[name])
    return kind(**{name: values[name] for name in kind.__dataclass_fields__})
