"""Golden model of the GEMM engine: ``C = requantize((A - za) @ (B - zb) + bias)`` on integers."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.requantize import requantize

IntArray = NDArray[np.int64]

OVERFLOWS = ("exact", "wrap", "saturate")


def _wrap(value: IntArray, width: int) -> IntArray:
    half = 1 << (width - 1)
    return ((value + half) & ((1 << width) - 1)) - half


def _saturate(value: IntArray, width: int) -> IntArray:
    half = 1 << (width - 1)
    return np.clip(value, -half, half - 1)


def _hardware_order(start: int, stop: int, k_block: int | None) -> range:
    return range(stop - 1, start - 1, -1) if k_block else range(start, stop)


def accumulate(
    a: ArrayLike, b: ArrayLike, *, act_zero_point: int = 0, weight_zero_point: int = 0,
    acc_width: int | None = None, overflow: str = "exact", k_block: int | None = None,
) -> IntArray:
    """Accumulators of ``(A - act_zero_point) @ (B - weight_zero_point)``, shape (M, N), int64.

    Parameters
    ----------
    a, b : integer arrays, (M, K) and (K, N)
    acc_width : width of the signed accumulator in bits; only used when ``overflow`` is not "exact"
    overflow : "exact" (the sum fits), "wrap" or "saturate", applied after every product in hardware order
    k_block : None adds the K products one after the other (output-stationary). A number adds each
        block of that many products from zero, then the block sums one after the other, as a
        weight- or input-stationary array of that many rows does; inside a block the last k comes first,
        because a sum runs from the top row down and the first k lies in the bottom row.
    """
    if overflow not in OVERFLOWS:
        raise ValueError(f"overflow must be one of {', '.join(OVERFLOWS)}, not {overflow!r}")
    left = np.asarray(a).astype(np.int64) - act_zero_point
    right = np.asarray(b).astype(np.int64) - weight_zero_point
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        raise ValueError(f"shapes {left.shape} and {right.shape} are not (M, K) and (K, N)")
    if overflow == "exact":
        return left @ right
    if acc_width is None:
        raise ValueError(f"overflow {overflow!r} needs acc_width")
    if overflow == "wrap":
        return _wrap(left @ right, acc_width)  # addition modulo 2**w does not depend on the order
    depth = left.shape[1]
    block = k_block or max(depth, 1)
    total = np.zeros((left.shape[0], right.shape[1]), np.int64)
    for start in range(0, depth, block):
        partial = np.zeros_like(total)
        for k in _hardware_order(start, min(start + block, depth), k_block):
            partial = _saturate(partial + np.multiply.outer(left[:, k], right[k]), acc_width)
        total = _saturate(total + partial, acc_width)
    return total


def gemm(
    a: ArrayLike, b: ArrayLike, *, bias: ArrayLike | None = None, multiplier: ArrayLike | None = None,
    shift: ArrayLike | None = None, zero_point: ArrayLike = 0, low: ArrayLike = -128, high: ArrayLike = 127,
    mode: str | None = "rne", act_zero_point: int = 0, weight_zero_point: int = 0,
    acc_width: int | None = None, overflow: str = "exact", k_block: int | None = None,
) -> IntArray:
    """One job of the engine, shape (M, N), int64.

    ``mode`` None returns the accumulators. Otherwise ``bias``, ``multiplier`` and ``shift`` are per
    output channel, shape (N,), and so may ``zero_point``, ``low`` and ``high`` be; rounding as in
    :func:`tilewright.sim.golden.requantize.requantize`. The rest as in :func:`accumulate`.
    """
    acc = accumulate(a, b, act_zero_point=act_zero_point, weight_zero_point=weight_zero_point,
                     acc_width=acc_width, overflow=overflow, k_block=k_block)
    if mode is None:
        return acc
    if bias is None or multiplier is None or shift is None:
        raise ValueError(f"mode {mode!r} needs bias, multiplier and shift")
    return requantize(acc, bias=bias, multiplier=multiplier, shift=shift, zero_point=zero_point,
                      low=low, high=high, mode=mode)


def gemm_reference(a: ArrayLike, b: ArrayLike, *, act_zero_point: int = 0, weight_zero_point: int = 0,
                   acc_width: int | None = None, overflow: str = "exact", k_block: int | None = None,
                   ) -> list[list[int]]:
    """:func:`accumulate` once more on Python integers of any size, one product at a time."""
    rows = [[int(x) for x in row] for row in np.asarray(a)]
    columns = [[int(x) for x in column] for column in np.asarray(b).T]

    def fit(value: int) -> int:
        if overflow == "exact":
            return value
        assert acc_width is not None
        half = 1 << (acc_width - 1)
        if overflow == "wrap":
            return (value + half) % (1 << acc_width) - half
        return max(-half, min(half - 1, value))

    def sum_in_order(products: list[int]) -> int:
        total = 0
        for product in products:
            total = fit(total + product)
        return total

    def dot(row: list[int], column: list[int]) -> int:
        products = [(x - act_zero_point) * (y - weight_zero_point) for x, y in zip(row, column, strict=True)]
        if not k_block:
            return sum_in_order(products)
        total = 0
        for start in range(0, len(products), k_block):
            total = fit(total + sum_in_order(products[start:start + k_block][::-1]))
        return total

    return [[dot(row, column) for column in columns] for row in rows]
