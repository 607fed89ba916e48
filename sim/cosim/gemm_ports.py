"""What the files of a GEMM build folder mean: ports, jobs, beats and the place of every value.

Plain Python on plain numbers, so that the copy in a build folder runs without Tilewright.
``design.json`` is :class:`GemmPorts`; a folder of vectors is a :class:`Case`. Order of the beats, with
lanes across and tiles of ``rows`` x ``cols``:

=================  ========================  ========================  ===============================
dataflow           act                       weight                    result
=================  ========================  ========================  ===============================
output_stationary  m tile, k: A[m0+lane][k]  n tile, k: B[k][n0+lane]  m tile, n tile, row:
                                                                       C[m0+row][n0+lane]
weight_stationary  k tile, m: A[m][k0+lane]  n tile, k: B[k][n0+lane]  n tile, m: C[m][n0+lane]
input_stationary   m tile, k: A[m0+lane][k]  k tile, n: B[k0+lane][n]  m tile, n: C[m0+lane][n]
=================  ========================  ========================  ===============================
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

from .beats import Lanes, Place, ResultBeat
from .cases import StreamCase, lines_of

OUTPUT_STATIONARY = "output_stationary"
WEIGHT_STATIONARY = "weight_stationary"
INPUT_STATIONARY = "input_stationary"
JOB_FIELDS = ("m", "n", "k", "reuse_weights", "act_zero_point", "weight_zero_point")  # columns of jobs.txt
RESIDENT = ("weight", "channel")  # streams of which a job that reuses weights has no beat
CHANNEL_FIELDS = ("bias", "multiplier", "shift", "zero_point", "low", "high")  # columns of channel.txt
ERROR_NONE, ERROR_SHAPE, ERROR_RESIDENT, ERROR_ACT_LAST, ERROR_WEIGHT_LAST = range(5)


@dataclass(frozen=True)
class Job:
    """One line of ``jobs.txt``: C[m][n] = A[m][k] @ B[k][n]."""

    m: int
    n: int
    k: int
    reuse_weights: int = 0
    act_zero_point: int = 0
    weight_zero_point: int = 0


@dataclass(frozen=True)
class GemmPorts:
    """Ports of the engine: all that a bench needs to know about a design.

    ``module`` is the Verilog module with the ``stream`` ports: the top, or the engine inside a bus wrapper.
    ``job`` and ``channel`` map the fields that exist to their widths (``channel`` is empty when results
    are not requantized), ``limits`` has the largest legal m, n and k.
    """

    design: str
    module: str
    rows: int
    cols: int
    dataflow: str
    limits: dict[str, int]
    job: dict[str, int]
    act: Lanes
    weight: Lanes
    result: Lanes
    channel: dict[str, int] = field(default_factory=dict)

    @property
    def bench(self) -> str:
        """The cocotb module that drives these ports."""
        return "cosim.gemm_tests"

    @property
    def inputs(self) -> dict[str, tuple[str, ...]]:
        """Payload fields of the input streams but ``job``."""
        streams = {"act": ("data", "last"), "weight": ("data", "last")}
        return streams | ({"channel": tuple(self.channel)} if self.channel else {})

    def to_json(self) -> str:
        """Text of ``design.json``."""
        return json.dumps({"ports": "gemm_ports", **asdict(self)}, indent=2) + "\n"

    def jobs(self, vectors: Path) -> "list[Job]":
        """The jobs of a vectors folder."""
        return [Job(*map(int, line)) for line in lines_of(vectors / "jobs.txt")]

    @property
    def beats(self) -> dict[str, tuple[str, int, str]]:
        """Beats of each stream for one job: ``(a, tile, b)`` stands for ``ceil(a / tile) * b``."""
        shape = {
            OUTPUT_STATIONARY: (("m", self.rows, "k"), ("n", self.cols, "k"), ("n", self.cols, "m")),
            WEIGHT_STATIONARY: (("k", self.rows, "m"), ("n", self.cols, "k"), ("n", self.cols, "m")),
            INPUT_STATIONARY: (("m", self.cols, "k"), ("k", self.rows, "n"), ("m", self.cols, "n")),
        }[self.dataflow]
        return {**dict(zip(("act", "weight", "result"), shape, strict=True)), "channel": ("n", 1, "")}

    def count(self, stream: str, job: Job) -> int:
        """Number of beats of ``stream`` that belong to ``job``."""
        if job.reuse_weights and stream in RESIDENT:
            return 0
        tiled, tile, times = self.beats[stream]
        return -(-getattr(job, tiled) // tile) * (getattr(job, times) if times else 1)

    def index(self, job: Job, beat: int, lane: int) -> tuple[int, int]:
        """Row and column of C in lane ``lane`` of the job's result beat ``beat``."""
        if self.dataflow == INPUT_STATIONARY:
            return beat // job.n * self.cols + lane, beat % job.n
        if self.dataflow == WEIGHT_STATIONARY:
            return beat % job.m, beat // job.m * self.cols + lane
        m_tile, row, column = 0, beat, 0
        while True:
            rows = min(self.rows, job.m - m_tile * self.rows)
            beats = rows * -(-job.n // self.cols)
            if row < beats:
                column, row = divmod(row, rows)
                return m_tile * self.rows + row, column * self.cols + lane
            row -= beats
            m_tile += 1

    def unit(self, job: Job, beat: int, lane: int) -> str:
        """The PE, or the column of PEs, that made this value."""
        if self.dataflow == OUTPUT_STATIONARY:
            return f"PE row {self.index(job, beat, lane)[0] % self.rows}, column {lane}"
        return f"PE column {lane}"

    def divergence(
        self, number: int, job: Job, beat: int, expected: ResultBeat, actual: ResultBeat, cycle: int
    ) -> Place:
        """What is wrong with the job's result beat ``beat``: tensor, job, index, cycle, unit, both values."""
        shape = f"job {number} (m={job.m}, n={job.n}, k={job.k})"
        wanted, got = self.result.unpack(expected[0]), self.result.unpack(actual[0])
        wrong = self.result.first_wrong(expected, actual)
        lane = wrong or 0
        row, column = self.index(job, beat, lane)
        unit = self.unit(job, beat, lane)
        if wrong is None:
            text = (f"result of {shape}, beat {beat}, cycle {cycle}: expected keep {expected[1]:b}, "
                    f"last {expected[2]}, unused lanes 0; "
                    f"got keep {actual[1]:b}, last {actual[2]}, data {got}")
        else:
            text = (f"result[{row}][{column}] of {shape}, cycle {cycle}, {unit}: "
                    f"expected {wanted[lane]}, got {got[lane]}")
        return Place(index=(row, column), lane=wrong, unit=unit, expected=wanted[lane], actual=got[lane], text=text)


@dataclass(frozen=True, kw_only=True)
class Case(StreamCase):
    """The files of one vectors folder, beats packed as they appear on the ports."""

    STREAMS: ClassVar[tuple[str, ...]] = ("act", "weight", "channel", "result")
    act: list[int]
    weight: list[int]
    channel: list[tuple[int, ...]]

    @classmethod
    def load(cls, folder: Path, ports: GemmPorts) -> "Case":
        """Read a folder; ``ValueError`` when the files do not fit the jobs."""
        result = []
        for line in lines_of(folder / "result.txt"):
            keep = sum(1 << lane for lane, word in enumerate(line) if word != "-")
            result.append((ports.result.pack(0 if word == "-" else int(word) for word in line), keep))
        columns = [CHANNEL_FIELDS.index(name) for name in ports.channel]
        widths = list(ports.channel.values())
        cycles = folder / "cycles.txt"
        case = cls(
            name=folder.name,
            jobs=ports.jobs(folder),
            act=[ports.act.pack(map(int, line)) for line in lines_of(folder / "act.txt")],
            weight=[ports.weight.pack(map(int, line)) for line in lines_of(folder / "weight.txt")],
            channel=[
                tuple(int(line[column]) & ((1 << width) - 1)
                      for column, width in zip(columns, widths, strict=True))
                for line in (lines_of(folder / "channel.txt") if columns else ())
            ],
            result=result,
            cycles=int(cycles.read_text()) if cycles.exists() else None,
        )
        for stream in ("act", "weight", "result", *(["channel"] if columns else [])):
            expected = sum(ports.count(stream, job) for job in case.jobs)
            if len(getattr(case, stream)) != expected:
                raise ValueError(
                    f"{folder / stream}.txt: {len(getattr(case, stream))} beats; the jobs take {expected}")
        return case


def load_ports(path: Path) -> GemmPorts:
    """The ports that ``design.json`` describes."""
    values = json.loads(path.read_text())
    for name in ("act", "weight", "result"):
        values[name] = Lanes(**values[name])
    return GemmPorts(**{name: values[name] for name in GemmPorts.__dataclass_fields__ if name in values})
