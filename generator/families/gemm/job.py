"""From a user's arrays to a job: shapes, ranges and defaults, each mistake told by the argument's name.

Needs NumPy and ``vectors`` beside it; ``description`` is a build's ``registers.json``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .vectors import IntArray, Job

CHANNEL_ARGUMENTS = ("bias", "multiplier", "shift", "zero_point", "low", "high")
ARGUMENTS = ("a", "b", *CHANNEL_ARGUMENTS, "reuse_weights", "act_zero_point", "weight_zero_point")
Description = Mapping[str, Any]


class JobError(ValueError):
    """An argument that the design cannot take; ``str()`` is one line."""


def make_job(description: Description, arguments: Mapping[str, ArrayLike | None],
             before: Job | None = None) -> Job:
    """The job that ``arguments`` (names of ARGUMENTS; None counts as absent) ask of a design.

    a (M, K) is needed always; b (K, N), bias, multiplier and shift where weights are not reused from
    ``before``. Per channel values are (N,) or one for all. zero_point defaults to 0; low and high are
    run-time values of ``activation: clip`` only, and default to the format's bounds. JobError otherwise.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    if unknown := [name for name in given if name not in ARGUMENTS]:
        raise JobError(f"{unknown[0]}: not an argument of a job; allowed: {', '.join(ARGUMENTS)}")
    reuse = bool(_scalar(given, "reuse_weights", 0, 1))
    if "a" not in given:
        raise JobError("a: missing")
    a = _matrix("a", given["a"], _element(description, "act"))
    if reuse:
        if before is None:
            raise JobError("reuse_weights: no job before this one")
        if surplus := [name for name in ("b", *CHANNEL_ARGUMENTS, "weight_zero_point") if name in given]:
            raise JobError(f"{surplus[0]}: not with reuse_weights, which keeps the one of the job before")
        b, channels = before.b, before.channels
    else:
        if "b" not in given:
            raise JobError("b: missing")
        b = _matrix("b", given["b"], _element(description, "weight"))
        channels = _channels(description, given, b.shape[1])
    if a.shape[1] != b.shape[0]:
        raise JobError(f"b: {b.shape[0]} rows; a has {a.shape[1]} columns")
    for name, size in zip("mnk", (a.shape[0], b.shape[1], a.shape[1]), strict=True):
        if not 1 <= size <= description["limits"][name]:
            raise JobError(f"{name} is {size}; the design takes 1 to {description['limits'][name]}")
    # Resident weights are already less their zero point.
    weight_zero_point = (before.weight_zero_point if reuse and before is not None
                         else _zero_point(description, given, "weight"))
    return Job(a=a, b=b, channels=channels, reuse_weights=reuse, weight_zero_point=weight_zero_point,
               act_zero_point=_zero_point(description, given, "act"))


def _zero_point(description: Description, given: Mapping[str, ArrayLike], stream: str) -> int:
    name = f"{stream}_zero_point"
    if name in given and not description[name]:
        raise JobError(f"{name}: the design has none; write numbers.{name}: true")
    return _scalar(given, name, *_element(description, stream))


def _channels(description: Description, given: Mapping[str, ArrayLike], n: int) -> dict[str, IntArray] | None:
    streams = description["streams"]
    if "channel" not in streams:
        if surplus := [name for name in CHANNEL_ARGUMENTS if name in given]:
            raise JobError(f"{surplus[0]}: the design has no requantization (numbers.requant: none)")
        return None
    bounds = {field["name"]: bounds_of(field) for field in streams["channel"]["fields"]}
    out_low, out_high = _element(description, "result")
    clip = description["activation"] == "clip"
    for name in ("bias", "multiplier", "shift"):
        if name not in given:
            raise JobError(f"{name}: missing; the design requantizes")
    for name in ("low", "high"):
        if name in given and not clip:
            raise JobError(f"{name}: only with numbers.activation: clip")
    channels = {
        name: _per_channel(name, given[name], bounds[name], n) for name in ("bias", "multiplier", "shift")}
    # A zero point is a value of the result's format.
    channels["zero_point"] = _per_channel("zero_point", given.get("zero_point", 0), (out_low, out_high), n)
    channels["low"] = _per_channel("low", given.get("low", out_low), (out_low, out_high), n)
    channels["high"] = _per_channel("high", given.get("high", out_high), (out_low, out_high), n)
    if description["activation"] == "relu":
        channels["low"] = np.maximum(channels["low"], channels["zero_point"])
    return channels


def bounds_of(field: Mapping[str, Any]) -> tuple[int, int]:
    """The least and the largest value of a stream's field."""
    if field["signed"]:
        return -(1 << field["width"] - 1), (1 << field["width"] - 1) - 1
    return 0, (1 << field["width"]) - 1


def _element(description: Description, stream: str) -> tuple[int, int]:
    return bounds_of(description["streams"][stream]["fields"][0])


def _integers(name: str, value: ArrayLike, bounds: tuple[int, int]) -> IntArray:
    array = np.asarray(value)
    if array.dtype == bool:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise JobError(f"{name}: holds {array.dtype}; only integers are allowed")
    low, high = bounds
    wrong = (array < low) | (array > high)
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        at = f" at {list(index)}" if index else ""
        raise JobError(f"{name}: {array[index]}{at}; allowed are {low} to {high}")
    return array.astype(np.int64)


def _matrix(name: str, value: ArrayLike, bounds: tuple[int, int]) -> IntArray:
    array = np.asarray(value)
    if array.ndim != 2:
        raise JobError(f"{name}: shape {array.shape}; a matrix is needed")
    return _integers(name, array, bounds)


def _per_channel(name: str, value: ArrayLike, bounds: tuple[int, int], n: int) -> IntArray:
    array = np.asarray(value)
    if array.shape not in ((), (1,), (n,)):
        raise JobError(f"{name}: shape {array.shape}; allowed are one value, or one for each of {n} channels")
    return np.broadcast_to(_integers(name, array, bounds), (n,)).copy()


def _scalar(given: Mapping[str, ArrayLike], name: str, low: int, high: int) -> int:
    array = np.asarray(given.get(name, 0))
    if array.size != 1:
        raise JobError(f"{name}: shape {array.shape}; one value is needed")
    return int(_integers(name, array.reshape(()), (low, high)))
