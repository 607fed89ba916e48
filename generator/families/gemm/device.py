"""A GEMM engine behind its registers: jobs in, matrices out, over any transport that moves words and beats.

Needs NumPy, ``job`` and ``vectors`` beside it, nothing else: the copy in a build's ``driver``
folder runs alone.
"""

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .job import make_job
from .vectors import IntArray, Job, pack_act, pack_weight, result_index, unpack_result

PUSH_BYTES = 2048  # of one packet; larger ones gain nothing and delay the results
POP_BEATS = 64
PATIENCE_SECONDS = 2.0  # without a beat in either direction


class DeviceError(RuntimeError):
    """The device is another one, refused a job, or does not answer."""


class Transport(Protocol):
    """What carries words to registers and beats to streams."""

    def write(self, address: int, words: Sequence[int]) -> None:
        """Write registers from ``address`` up."""

    def read(self, address: int, count: int = 1) -> list[int]:
        """Read ``count`` registers from ``address`` up."""

    def push(self, stream: str, beats: bytes, last: bool) -> int:
        """Offer whole beats; how many were taken. ``last`` marks the end of the matrix with the final one."""

    def pop(self, count: int) -> tuple[bytes, int, bool]:
        """Up to ``count`` waiting result beats: bytes, how many, whether the final one ended the job."""


class GemmDevice:
    """One engine at the far end of ``transport``; ``description`` is the build's ``registers.json``.

    Refuses a device whose map or whose design hash is not the description's.
    """

    def __init__(self, transport: Transport, description: dict[str, Any]) -> None:
        self.transport = transport
        self.description = description
        self._registers: dict[str, dict[str, Any]] = description["registers"]
        self._streams: dict[str, dict[str, Any]] = description["streams"]
        self._shape = SimpleNamespace(**{name: description[name] for name in ("rows", "cols", "dataflow")})
        self._before: Job | None = None
        self._check_identity()

    def _check_identity(self) -> None:
        magic, version = self.register("magic"), self.register("version")
        if magic != self.description["magic"]:
            raise DeviceError(f"no GEMM engine answers: magic is {magic:#010x}, "
                              f"not {self.description['magic']:#010x}")
        if version != self.description["version"]:
            raise DeviceError(f"the device has version {version} of the register map, "
                              f"this driver {self.description['version']}")
        names = [name for name in self._registers if name.startswith("hash_")]
        found = "".join(f"{self.register(name):08x}" for name in names)
        expected = self.description["hash"][:len(found)]
        if found != expected:
            raise DeviceError(f"the device holds another design: hash {found}, "
                              f"this driver is for {self.description['design']}, {expected}")

    def register(self, name: str) -> int:
        """The value of one register."""
        return self.transport.read(self._registers[name]["offset"])[0]

    def write(self, name: str, value: int) -> None:
        """Set one register; a negative value in two's complement."""
        self.transport.write(self._registers[name]["offset"], [value & 0xFFFF_FFFF])

    def job(self, **arguments: ArrayLike | None) -> IntArray:
        """C (M, N), int64, of one job; arguments as in :func:`make_job`. JobError for a bad one."""
        job = make_job(self.description, arguments, self._before)
        outputs, _ = self.run([job])
        self._before = job
        return outputs[0]

    def errors(self) -> list[str]:
        """The names of the error bits that are set; clears them."""
        register = self._registers["error"]
        value = self.register("error")
        if value:
            self.write("error", value)
        return [name for name, (low, _) in register["fields"].items() if value >> low & 1]

    def run(self, jobs: Sequence[Job]) -> tuple[list[IntArray], list[int]]:
        """Run ``jobs`` one after the other: C of each, and the cycles the engine was busy with it."""
        self.errors()
        outputs, cycles = [], []
        for number, job in enumerate(jobs):
            outputs.append(self._run(job, number))
            cycles.append(self.register("counter_cycles"))
        return outputs, cycles

    def _run(self, job: Job, number: int) -> IntArray:
        fields = {**job.fields, "flags": int(job.reuse_weights)}
        for name in ("m", "n", "k", "flags", "act_zero_point", "weight_zero_point"):
            if name in self._registers:
                self.write(name, fields[name])
        self.write("start", 1)
        if errors := self.errors():
            raise DeviceError(f"job {number}: refused: {', '.join(errors)}")
        data = self._pump(job, number)
        if errors := self.errors():
            raise DeviceError(f"job {number}: {', '.join(errors)}")
        m, n, _ = job.shape
        return unpack_result(self._shape, self.unpack(data), m, n)

    def _pump(self, job: Job, number: int) -> bytes:
        """Push operands and pop results, each as far as the engine lets it, until the last result is here."""
        m, n, _ = job.shape
        expected = len(result_index(self._shape, m, n))
        outgoing = {name: self.pack(name, job) for name in self._streams if name != "result"}
        received, result, ended = 0, b"", False
        deadline = time.monotonic() + PATIENCE_SECONDS
        while received < expected:
            moved = 0
            for name, data in outgoing.items():
                if data:
                    size = self._streams[name]["bytes"]
                    chunk = data[:max(1, PUSH_BYTES // size) * size]
                    taken = self.transport.push(name, chunk, len(chunk) == len(data))
                    outgoing[name] = data[taken * size:]
                    moved += taken
            data, count, ended = self.transport.pop(min(POP_BEATS, expected - received))
            result += data
            received += count
            if moved + count:
                deadline = time.monotonic() + PATIENCE_SECONDS
            elif time.monotonic() > deadline:
                raise DeviceError(
                    f"job {number}: no answer; {received} of {expected} result beats came, "
                    f"status is {self.register('status'):#x}, errors: {', '.join(self.errors()) or 'none'}")
        if not ended:
            raise DeviceError(f"job {number}: result beat {expected - 1} is not marked as the last")
        return result

    def pack(self, stream: str, job: Job) -> bytes:
        """The beats that ``job`` sends on ``stream``."""
        if job.reuse_weights and stream != "act":
            return b""
        if stream == "act":
            return self._elements(stream, pack_act(self._shape, job.a))
        if stream == "weight":
            return self._elements(stream, pack_weight(self._shape, job.b))
        if job.channels is None:
            raise DeviceError("the engine requantizes: the job needs channels")
        columns = [_bytes_of(job.channels[field["name"]], field["bytes"])
                   for field in self._streams[stream]["fields"]]
        return np.concatenate(columns, axis=1).tobytes()

    def _elements(self, stream: str, beats: IntArray) -> bytes:
        return beats.astype(self._element(stream)).tobytes()

    def _element(self, stream: str) -> np.dtype[Any]:
        field = self._streams[stream]["fields"][0]
        return np.dtype(f"<{'i' if field['signed'] else 'u'}{field['bytes']}")

    def unpack(self, data: bytes) -> IntArray:
        """Result beats, (beats, lanes), out of their bytes."""
        lanes = self._streams["result"]["lanes"]
        return np.frombuffer(data, self._element("result")).astype(np.int64).reshape(-1, lanes)


def _bytes_of(values: IntArray, count: int) -> NDArray[np.uint8]:
    """Each value as ``count`` bytes in two's complement, low byte first: (len(values), count)."""
    shifts = 8 * np.arange(count, dtype=np.int64)
    return (np.asarray(values, np.int64)[:, None] >> shifts & 0xFF).astype(np.uint8)
