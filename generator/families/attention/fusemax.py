"""What attention costs on FuseMax's two arrays, in closed form.

A two-dimensional array of rows x cols PEs computes scores, exponentials and their products with the values; a
one-dimensional one of ``cols`` PEs keeps running maxima and sums and divides at the end. The sequence has M keys and P
queries for each of B sequences of H heads; a query and a key have E elements, a value has F::

    t1d = B * H * P * ((M / cols) * (10 + 2 F) + F) / (cols * f)
    t2d = B * H * P * M * (E + F + 9) / (rows * cols * f)

Both work all the time, and the slower one is the latency. Schedule `fused2d` is such an engine.

Source: Nayak et al., "FuseMax: Leveraging Extended Einsums to Optimize Attention Accelerator Design", MICRO 2024
(arXiv:2406.10491), and the model in its artifact.
"""

from dataclasses import dataclass

EXPONENTIAL_STEPS = 9   # of a PE for a key: scale, local maximum, exponential, sum
UPDATE_STEPS = 10       # of a one-dimensional PE for a row and its keys: maximum, exponential, sum of weights


@dataclass(frozen=True)
class Layer:
    """Attention of ``batch`` sequences of ``heads`` heads: ``queries`` x ``keys`` each."""

    batch: int
    heads: int
    queries: int
    keys: int
    key_dim: int
    value_dim: int


@dataclass(frozen=True)
class Arrays:
    """Sizes of the two arrays, and their clock."""

    rows: int
    cols: int
    clock_mhz: float


def cycles_2d(arrays: Arrays, layer: Layer) -> float:
    """Cycles of the two-dimensional array."""
    pairs = layer.batch * layer.heads * layer.queries * layer.keys
    return pairs * (layer.key_dim + layer.value_dim + EXPONENTIAL_STEPS) / (arrays.rows * arrays.cols)


def cycles_1d(arrays: Arrays, layer: Layer) -> float:
    """Cycles of the one-dimensional array."""
    of_a_query = layer.keys / arrays.cols * (UPDATE_STEPS + 2 * layer.value_dim) + layer.value_dim
    return layer.batch * layer.heads * layer.queries * of_a_query / arrays.cols


def cycles(arrays: Arrays, layer: Layer) -> float:
    """Cycles of both: those of the slower one."""
    return max(cycles_1d(arrays, layer), cycles_2d(arrays, layer))


def latency_ms(arrays: Arrays, layer: Layer) -> float:
    """Milliseconds."""
    return cycles(arrays, layer) / (arrays.clock_mhz * 1e3)


def utilization_2d(arrays: Arrays, layer: Layer) -> float:
    """Share of the time in which the two-dimensional array works."""
    return cycles_2d(arrays, layer) / cycles(arrays, layer)
