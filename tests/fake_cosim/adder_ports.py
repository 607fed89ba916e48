"""What the files of an adder's build folder mean; a family has such a module in ``sim/cosim``."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .beats import Lanes, Place, ResultBeat


@dataclass(frozen=True)
class AdderPorts:
    design: str
    module: str
    bench: str
    result: Lanes

    def to_json(self) -> str:
        return json.dumps({"ports": "adder_ports", **asdict(self)})

    def jobs(self, vectors: Path) -> list[int]:
        return [int(line.split()[0]) for line in (vectors / "jobs.txt").read_text().splitlines()]

    def divergence(self, number: int, job: int, beat: int, expected: ResultBeat, actual: ResultBeat, cycle: int) -> Place:
        lane = self.result.first_wrong(expected, actual) or 0
        index = beat * self.result.lanes + lane
        wanted, got = (self.result.unpack(seen[0])[lane] for seen in (expected, actual))
        text = f"sum[{index}] of job {number} (n={job}) is {got}, not {wanted}"
        return Place(index=(index,), lane=lane, unit=f"adder {lane}", expected=wanted, actual=got, text=text)


def load_ports(path: Path) -> AdderPorts:
    values = json.loads(path.read_text())
    return AdderPorts(values["design"], values["module"], values["bench"], Lanes(**values["result"]))
