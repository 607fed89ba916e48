"""HLS kernels of attention engines for tests: rendered, compiled under the sanitizers, run on vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hls_build import Run, csim, run
from tilewright.families.attention.schedules import schedule_of
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.vectors import Case, write_case
from tilewright.hls import render_hls

REFUSALS = 5 + 6 * 2  # of a testbench: illegal shapes; six misplaced ends, each with a good job behind it


def write_kernel(folder: Path, spec: AttentionSpec, edits: Mapping[str, tuple[str, str]] | None = None) -> Path:
    """The ``hls`` folder of a build; in each file of ``edits`` one text is replaced by another."""
    for path, text in render_hls(schedule_of(spec).hls_context(spec)).items():
        old, new = (edits or {}).get(path, ("", ""))
        assert old in text, f"{path} has no {old!r}"
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace(old, new) if old else text)
    return folder


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel, the cases that it ran, and how they went."""

    hls: Path
    cases: Sequence[Case]
    outcome: Run

    def assert_equals_golden(self, *, refusals: int = REFUSALS) -> None:
        """Every job passed and every value of every result was compared; so did the testbench's own jobs."""
        assert self.outcome.code == 0 and self.outcome.failed == 0, self.outcome.output
        results = [job.result for case in self.cases for job in case.jobs if job.result is not None]
        assert self.outcome.compared == sum(values.size for values in results)
        assert self.outcome.passed >= len(results) + refusals

    def vectors(self, case: str) -> Path:
        """The folder of a case."""
        return self.hls.parent / "sim" / "vectors" / case

    def rerun(self, folder: Path, case: str, **edits: str) -> Run:
        """Again, on a copy of a case in ``folder`` with some files replaced."""
        for source in self.vectors(case).iterdir():
            (folder / source.name).write_text(edits.get(source.stem, source.read_text()))
        return run(["./csim.bin", "--vectors-only", folder], self.hls)


def run_kernel(folder: Path, spec: AttentionSpec, cases: Sequence[Case], *arguments: str) -> Kernel:
    """The kernel of ``spec``, built in ``folder``, on ``cases``; ``arguments`` go to make."""
    for case in cases:
        write_case(folder / "sim" / "vectors" / case.name, spec, case)
    hls = write_kernel(folder / "hls", spec)
    return Kernel(hls, cases, csim(hls, *arguments))
