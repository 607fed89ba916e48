"""Read the results file of a cocotb run; a run without evidence is a failed run.

``python -m cosim.results results/bench.xml`` prints a line per test and ends with 0 only if at least
one test ran and none failed.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

CYCLE_NS = 2  # the benches' clock


@dataclass(frozen=True)
class Result:
    """One test of a results file. ``values`` counts the result values it compared."""

    name: str
    passed: bool
    seconds: float
    message: str = ""
    values: int = 0
    cycles: int = 0


def read_results(path: Path) -> list[Result]:
    """The tests of a JUnit file and of the evidence file beside it; never an empty list.

    A file that is missing, broken or without tests becomes one failed entry named ``cocotb``.
    """
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except OSError:
        return [Result("cocotb", False, 0.0, f"the simulation ended without writing {path.name}")]
    except ElementTree.ParseError as error:
        return [Result("cocotb", False, 0.0, f"{path.name} is not complete: {error}")]
    results = []
    evidence = read_evidence(path.with_suffix(".evidence"))
    for case in cases:
        name = case.get("name", "")
        bad = next((case.find(tag) for tag in ("failure", "error") if case.find(tag) is not None), None)
        skipped = case.find("skipped") is not None
        message = "skipped" if skipped else "" if bad is None else _one_line(bad)
        simulated = case.find("properties/property[@name='sim_time_duration']")
        cycles = 0 if simulated is None else int(float(simulated.get("value", 0)) / CYCLE_NS)
        results.append(Result(name, bad is None and not skipped, float(case.get("time", 0)), message,
                              evidence.get(name, 0), cycles))
    return results or [Result("cocotb", False, 0.0, "no test ran")]


def read_evidence(path: Path) -> dict[str, int]:
    """Values compared per test: lines ``name count``, summed."""
    counts: dict[str, int] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            name, count = line.split()
            counts[name] = counts.get(name, 0) + int(count)
    return counts


def _one_line(element: ElementTree.Element) -> str:
    text = element.get("message") or (element.text or "").strip() or element.tag
    return " ".join(text.split())


def main() -> int:
    """Print and judge."""
    results = read_results(Path(sys.argv[1]))
    for result in results:
        verdict = "pass" if result.passed else "FAIL"
        print(f"{verdict}  {result.name}  {result.seconds:.2f} s  {result.message}".rstrip())
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
