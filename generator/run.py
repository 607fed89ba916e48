"""Programs of `tilewright run`: jobs with their operands in one .npz, results in another.

Array ``<argument>_<i>`` is an argument of job i, counted from 0 without a gap: ``a_0``, ``b_0``, ``bias_0``, ...,
``a_1``, ``reuse_weights_1``; the family says which there are. Two more may stand there:
``labels_<i>`` (M,) are the columns in which the rows of the result should be largest, for the accuracy;
``expected_<i>`` is the result the run must give. The results are ``c_0``, ``c_1``, ...
"""

import difflib
import io
import os
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tilewright.errors import CheckFailed, ToolError, UserError

MAX_BYTES = 1 << 28  # of the file, and of all arrays in it
MAX_JOBS = 4096
MATRIX = 2
CHECKS = ("labels", "expected")

Array = NDArray[Any]


@dataclass
class Program:
    """The arguments of each job, and by job number what its result is judged by."""

    jobs: list[dict[str, Array]] = field(default_factory=list)
    labels: dict[int, Array] = field(default_factory=dict)
    expected: dict[int, Array] = field(default_factory=dict)


def read_program(path: Path, arguments: Sequence[str], *, dimensions: int = MATRIX) -> Program:
    """The program in ``path``, for a design whose jobs take ``arguments``; ``UserError`` tells mistakes."""
    arrays = read_arrays(path, dimensions=dimensions)
    allowed = [*arguments, *CHECKS]
    by_job: dict[int, dict[str, Array]] = {}
    mistakes = []
    for name, array in arrays.items():
        match = re.fullmatch(r"([a-z_]+)_(0|[1-9][0-9]{0,5})", name)
        if match is None or match[1] not in allowed:
            near = difflib.get_close_matches(match[1] if match else name, allowed, 1)
            hint = f"; did you mean '{near[0]}_{match[2] if match else 0}'?" if near else ""
            mistakes.append(f"{path}: unknown array '{name}'{hint or '; allowed are ' + ', '.join(allowed)}")
        elif int(match[2]) >= MAX_JOBS:
            mistakes.append(f"{path}: {name}: at most {MAX_JOBS} jobs are allowed")
        else:
            by_job.setdefault(int(match[2]), {})[match[1]] = array
    if not by_job and not mistakes:
        mistakes.append(f"{path}: holds no array; {arguments[0]}_0 is needed at least")
    gap = next((number for number in range(len(by_job)) if number not in by_job), None)
    if gap is not None and not mistakes:
        mistakes.append(f"{path}: {arguments[0]}_{gap}: missing; jobs are counted from 0 without a gap")
    if mistakes:
        raise UserError(*mistakes)
    program = Program()
    for number, given in sorted(by_job.items()):
        for check in CHECKS:
            if check in given:
                getattr(program, check)[number] = given.pop(check)
        program.jobs.append(given)
    return program


def read_arrays(path: Path, *, dimensions: int = MATRIX) -> dict[str, Array]:
    """The arrays of an .npz, integers of up to ``dimensions``, at most ``MAX_BYTES``. Nothing in it is executed or trusted."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise UserError(f"{path}: not a file")
        if size > MAX_BYTES:
            raise UserError(f"{path}: {size} bytes; at most {MAX_BYTES} are allowed")
        with zipfile.ZipFile(path) as archive:
            return _members(path, archive, dimensions)
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError,
            struct.error, UnicodeError) as error:
        raise UserError(f"{path}: not a readable .npz file: {_one_line(error)}") from None


def _members(path: Path, archive: zipfile.ZipFile, dimensions: int) -> dict[str, Array]:
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if total > MAX_BYTES:
        raise UserError(f"{path}: {total} bytes when unpacked; at most {MAX_BYTES} are allowed")
    arrays: dict[str, Array] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        shown = _one_line(name)
        if name in arrays:
            raise UserError(f"{path}: array '{shown}' stands twice")
        with archive.open(member) as file:
            content = file.read(MAX_BYTES + 1)
        try:
            arrays[name] = _array(content, dimensions)
        except Exception as error:  # NumPy's header parser raises what Python's literal parser does
            raise UserError(f"{path}: {shown}: {_one_line(error)}") from None
    return arrays


def _array(content: bytes, dimensions: int) -> Array:
    """One .npy of integers or booleans, its size checked before anything is allocated."""
    if not content.startswith(np.lib.format.MAGIC_PREFIX):
        raise ValueError("not an array in the .npy format")
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the .npy format; allowed are 1.0 and 2.0")
    shape, by_columns, dtype = readers[version](stream)
    if dtype.kind not in "iub":
        raise ValueError(f"holds {dtype}; only integers are allowed")
    if len(shape) > dimensions:
        raise ValueError(f"has {len(shape)} dimensions; at most {dimensions} are allowed")
    count, rest = 1, content[stream.tell():]
    for extent in shape:
        count *= extent
    if any(extent < 0 for extent in shape) or count * dtype.itemsize != len(rest):
        raise ValueError(f"{len(rest)} bytes of data for shape {shape} of {dtype}")
    return np.frombuffer(rest, dtype).reshape(shape, order="F" if by_columns else "C")


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an .npz: afterwards the file is the old one or the new one, never a part. ``ToolError``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.savez_compressed(file, **arrays)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ToolError(f"{path}: cannot write: {error.strerror or error}") from None


def check_labels(path: Path, program: Program, shapes: Sequence[tuple[int, ...]]) -> None:
    """Demand that labels and expected results fit their jobs' results, whose ``shapes`` are given; ``UserError``."""
    for number, labels in program.labels.items():
        if len(shapes[number]) != MATRIX:
            raise UserError(f"{path}: labels_{number}: the result has shape {shapes[number]}; only a matrix can be labelled")
        m, n = shapes[number]
        if labels.shape != (m,) or (labels.astype(object) < 0).any() or (labels.astype(object) >= n).any():
            raise UserError(f"{path}: labels_{number}: {m} numbers from 0 to {n - 1} are needed")
    for number, expected in program.expected.items():
        if expected.shape != shapes[number]:
            raise UserError(
                f"{path}: expected_{number}: shape {expected.shape}; the result has {shapes[number]}")


def accuracy(program: Program, outputs: Sequence[Array]) -> float | None:
    """Share of labelled rows whose largest value (the first of equal ones) stands where the label says."""
    right = [outputs[number].argmax(axis=1) == labels for number, labels in program.labels.items()]
    return float(np.concatenate(right).mean()) if right else None


def compare(program: Program, outputs: Sequence[Array]) -> None:
    """``CheckFailed`` with the first value that is not the expected one."""
    for number, expected in program.expected.items():
        wrong = np.argwhere(outputs[number] != expected)
        if len(wrong):
            at = tuple(int(index) for index in wrong[0])
            raise CheckFailed(
                f"job {number}: c{''.join(f'[{index}]' for index in at)} is {outputs[number][at]}, "
                f"expected_{number} says {expected[at]}; {len(wrong)} of {expected.size} values differ")


def _one_line(error: object) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:157]}..."
