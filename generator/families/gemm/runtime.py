"""How jobs of a GEMM design run: what `tilewright run` and the driver need to know of the family."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from tilewright.families.gemm.cycles import walk
from tilewright.families.gemm.device import GemmDevice, Transport
from tilewright.families.gemm.fields import Job as JobFields
from tilewright.families.gemm.hardware import cycle_engine
from tilewright.families.gemm.job import ARGUMENTS, make_job
from tilewright.families.gemm.registers import driver_info
from tilewright.families.gemm.spec import GemmSpec
from tilewright.families.gemm.stimulus import golden, with_result
from tilewright.families.gemm.vectors import Case, IntArray, Job, case_files, result_index, unpack_result
from tilewright.registers import description
from tilewright.result_text import beats_of_jobs


class GemmRuntime:
    """The :class:`tilewright.driver.Runtime` of one GEMM design."""

    arguments: tuple[str, ...] = ARGUMENTS
    dimensions = 2

    def __init__(self, spec: GemmSpec, design_hash: str) -> None:
        self.spec = spec
        self.description = description(driver_info(spec, design_hash))

    def job(self, arguments: Mapping[str, ArrayLike | None], before: Job | None) -> Job:
        """The job of a user's arguments; ``JobError`` for a bad one."""
        return make_job(self.description, arguments, before)

    def alone(self, job: Job) -> Job:
        """``job`` for an engine that holds nothing: it brings its weights along."""
        return Job(a=job.a, b=job.b, channels=job.channels, act_zero_point=job.act_zero_point,
                   weight_zero_point=job.weight_zero_point)

    def shape(self, job: Job) -> dict[str, int]:
        """m, n and k."""
        return dict(zip("mnk", job.shape, strict=True))

    def result_shape(self, job: Job) -> tuple[int, int]:
        """Rows and columns of C."""
        return job.shape[:2]

    def golden(self, job: Job) -> IntArray:
        """C as the golden model computes it."""
        return golden(self.spec, job)

    def cycles(self, jobs: Sequence[Job]) -> list[int]:
        """What the cycle model says of each job, back to back, from the end of the job before."""
        shapes = [JobFields(**self.shape(job), reuse_weights=job.reuse_weights) for job in jobs]
        done = [0, *(at.done for at in walk(cycle_engine(self.spec), shapes))]
        return [end - start for start, end in pairwise(done)]

    def vectors(self, jobs: Sequence[Job], *, with_results: bool) -> dict[str, str]:
        """The files of a vectors folder that holds ``jobs``, with their golden results if asked for."""
        if not with_results:
            return case_files(self.spec, Case("program", tuple(jobs)))
        case = Case("program", tuple(with_result(self.spec, job) for job in jobs), sum(self.cycles(jobs)))
        return case_files(self.spec, case)

    def results(self, text: str, jobs: Sequence[Job]) -> list[IntArray]:
        """C of each job, out of the text of a ``result.txt``; ``ValueError`` if it is not theirs."""
        counts = [len(result_index(self.spec, *job.shape[:2])) for job in jobs]
        return [unpack_result(self.spec, np.array(beats, np.int64), *job.shape[:2])
                for job, beats in zip(jobs, beats_of_jobs(text, counts), strict=True)]

    def device(self, transport: Transport) -> GemmDevice:
        """The engine at the far end of ``transport``; ``DeviceError`` if it is another one."""
        return GemmDevice(transport, self.description)
