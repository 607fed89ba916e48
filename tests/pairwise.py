"""Rows of choices for tests of designs with many of them: every pair together once at least."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product

import numpy as np


def pairwise_rows(factors: Mapping[str, tuple[str, ...]], is_legal: Callable[[Mapping[str, str]], bool] = lambda row: True,
                  ) -> Iterator[dict[str, str]]:
    """Rows in which every legal pair of levels of every two factors occurs: each time the row that brings most new pairs."""
    rows = [row for levels in product(*factors.values()) if is_legal(row := dict(zip(factors, levels, strict=True)))]
    level = {name: np.array([factors[name].index(row[name]) for row in rows]) for name in factors}
    number = {name: len(levels) for name, levels in factors.items()}
    pairs = np.stack([level[a] * number[b] + level[b] for a, b in combinations(factors, 2)], axis=1)  # of each row
    pairs += np.cumsum([0, *(number[a] * number[b] for a, b in combinations(factors, 2))])[:-1]
    missing = np.zeros(pairs.max() + 1, bool)
    missing[pairs] = True
    while missing.any():
        best = int(missing[pairs].sum(axis=1).argmax())
        missing[pairs[best]] = False
        yield rows[best]


def spanning_rows(rows: Sequence[dict[str, str]], *pair: str) -> list[dict[str, str]]:
    """Some of ``rows`` in which every level occurs, and of the ``pair`` of factors, if one is named, every pair of levels.

    Each time the row that brings most that is new.
    """
    def parts(row: dict[str, str]) -> set[tuple[str, ...]]:
        return {*row.items(), *([tuple(row[name] for name in pair)] if pair else [])}

    missing = set().union(*map(parts, rows))
    kept = []
    while missing:
        kept.append(max(rows, key=lambda row: len(missing & parts(row))))
        missing -= parts(kept[-1])
    return kept
