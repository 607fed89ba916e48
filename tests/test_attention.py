"""Claims about `family: attention`: masks and golden model."""

from typing import Any

import attention_clamp
import numpy as np
import pytest
from attention_softmax import ALGORITHMS, softmax
from hypothesis import given, settings
from hypothesis import strategies as st
from tilewright.families.attention.fields import Mask
from tilewright.families.attention.spec import AttentionSpec
from tilewright.formats import IntFormat
from tilewright.sim.golden.attention import attention, float_attention
from tilewright.sim.golden.attention_mask import tile_keys, visible
from tilewright.sim.golden.attention_reference import attention_reference

MASKS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"}, "causal": {"kind": "causal"}, "window": {"kind": "window", "window": 3},
    "lambda": {"kind": "lambda", "sink": 2, "window": 3}, "prefix": {"kind": "prefix", "prefix": 4},
    "band": {"kind": "window", "window": 3, "lookahead": 2},
    "lambda_ahead": {"kind": "lambda", "sink": 2, "window": 2, "lookahead": 3},
}
SEES = {  # once more, in words of one query at i and one key at j
    "none": lambda i, j: True,
    "causal": lambda i, j: j <= i,
    "window": lambda i, j: i - 3 < j <= i,
    "lambda": lambda i, j: j <= i and (j < 2 or j > i - 3),
    "prefix": lambda i, j: j < 4 or j <= i,
    "band": lambda i, j: -3 < j - i <= 2,
    "lambda_ahead": lambda i, j: j - i <= 3 and (j < 2 or j - i > -2),
}
POSITIONED = sorted(set(MASKS) - {"none"})


def spec(**blocks: Any) -> AttentionSpec:
    """Head size 8 in two beats, four heads in groups of two, unless ``blocks`` says otherwise."""
    base = {"design": "tiny", "family": "attention", "model": {"head_dim": 8, "heads": 4, "kv_heads": 2},
             "engine": {"tile_q": 4, "lanes": 4}, "limits": {"queries": 64, "keys": 64}}
    return AttentionSpec.model_validate(base | blocks)


def mask(name: str) -> Mask:
    return Mask.model_validate(MASKS[name])


def operands(of: AttentionSpec, queries: int, keys: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)

    def draw(number: IntFormat, heads: int, count: int) -> np.ndarray:
        return rng.integers(number.low, number.high + 1, (heads, count, of.head_dim))

    return draw(of.q, of.heads, queries), draw(of.k, of.kv_heads, keys), draw(of.v, of.kv_heads, keys)


def parameters(of: AttentionSpec, *, score_multiplier: int, score_shift: int, out_scale: int = 4096) -> dict[str, Any]:
    return {"mask": of.mask, "score_multiplier": score_multiplier, "score_shift": score_shift, "out_scale": out_scale,
            "fraction": of.fraction, "guard_bits": of.guard_bits, "table": of.table, "octave": of.octave,
            "total_width": of.total_width, "value_width": of.v.width, "low": of.out.low, "high": of.out.high,
            "passes": of.passes, "parabola": of.parabola}


def reference(of: AttentionSpec, arrays: tuple[np.ndarray, ...], given: dict[str, Any], tile_q: int | None = None) -> Any:
    return attention_reference(*arrays, tile_q=tile_q or of.tile_q, **given)


# ---- masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MASKS)
def test_a_query_sees_the_keys_its_mask_names(name: str) -> None:
    position, key = np.mgrid[-3:12, 0:14]
    expected = [[SEES[name](i, j) for j in range(14)] for i in range(-3, 12)]
    assert visible(mask(name), position, key).tolist() == expected


@pytest.mark.parametrize("name", MASKS)
def test_a_tile_meets_the_keys_that_one_of_its_queries_sees(name: str) -> None:
    for keys in (1, 3, 12):
        for first in range(-4, keys):
            for last in range(first, keys):
                seen = [j for j in range(keys) if any(SEES[name](i, j) for i in range(first, last + 1))]
                assert tile_keys(mask(name), first, last, keys) == seen, (first, last, keys)


# ---- golden --------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_golden_equals_big_integers_for_every_mask_format_and_group(data: st.DataObject) -> None:
    heads = data.draw(st.sampled_from([1, 2, 4, 6]))
    formats = {name: data.draw(st.sampled_from(["int4", "int8", "int16"])) for name in ("q", "k", "v", "out")}
    group = data.draw(st.sampled_from([one for one in (1, 2, 3, 6) if heads % one == 0]))
    mantissa_bits = data.draw(st.sampled_from([8, 12, 15]))
    of = spec(
        model={"head_dim": 4, "heads": heads, "kv_heads": heads // group}, engine={"tile_q": 6, "lanes": 4}, numbers=formats,
        mask=MASKS[data.draw(st.sampled_from(sorted(MASKS)))],
        softmax=softmax(data.draw(st.sampled_from(ALGORITHMS)), fraction=data.draw(st.integers(8, 12)),
                        mantissa_bits=mantissa_bits, table_bits=data.draw(st.integers(3, 7)),
                        guard_bits=data.draw(st.integers(max(0, 10 - mantissa_bits), min(8, 16 - mantissa_bits)))))
    queries, keys = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 9))
    arrays = operands(of, queries, keys, seed=data.draw(st.integers(0, 2**32)))
    given_scales = parameters(
        of, score_multiplier=data.draw(st.integers(0, (1 << 24) - 1)), score_shift=data.draw(st.integers(0, 45)),
        out_scale=data.draw(st.sampled_from([0, 1, 4096, 65535])))
    assert attention(*arrays, **given_scales).tolist() == reference(of, arrays, given_scales)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", MASKS)
def test_the_result_does_not_depend_on_the_tile(name: str, algorithm: str) -> None:
    of = spec(mask=MASKS[name], softmax={"algorithm": algorithm})
    arrays = operands(of, 7, 11)
    scales = parameters(of, score_multiplier=9000, score_shift=18)
    expected = attention(*arrays, **scales).tolist()
    for tile_q in (1, 2, 4, 6, 14, 16):
        assert reference(of, arrays, scales, tile_q) == expected, tile_q


@pytest.mark.parametrize("name", MASKS)
def test_one_key_is_its_own_value_whatever_the_score(name: str) -> None:
    of = spec(mask=MASKS[name])
    q, k, v = operands(of, 1, 1)
    for multiplier, shift in ((0, 0), (1, 5), ((1 << 24) - 1, 0)):
        result = attention(q, k, v, **parameters(of, score_multiplier=multiplier, score_shift=shift, out_scale=4096))
        np.testing.assert_array_equal(result, np.repeat(v, 2, axis=0))


def test_equal_scores_give_the_mean() -> None:
    """Also of saturated ones: 16 bits hold no more than 32 at 10 fraction bits, however large the products are."""
    of = spec(model={"head_dim": 8, "heads": 1, "kv_heads": 1})
    q, k, v = np.full((1, 2, 8), 127), np.full((1, 8, 8), 127), np.arange(64).reshape(1, 8, 8)
    for multiplier, shift in ((0, 0), (9000, 18), ((1 << 24) - 1, 0)):
        result = attention(q, k, v, **parameters(of, score_multiplier=multiplier, score_shift=shift))
        assert result.tolist() == [[list(range(28, 36))] * 2]


def test_scores_saturate_instead_of_wrapping() -> None:
    of = spec(model={"head_dim": 4, "heads": 1, "kv_heads": 1}, numbers={"q": "int16", "k": "int16"})
    q = np.full((1, 1, 4), 32767)
    k = np.stack([np.full((1, 4), -32768), np.full((1, 4), 32767)], axis=1)
    v = np.stack([np.full((1, 4), -100), np.full((1, 4), 100)], axis=1)
    arrays = (q, k, v)
    scales = parameters(of, score_multiplier=(1 << 24) - 1, score_shift=0)
    assert attention(*arrays, **scales).tolist() == [[[100] * 4]] == reference(of, arrays, scales)


@pytest.mark.parametrize("name", POSITIONED)
def test_a_query_that_sees_no_key_gives_0(name: str) -> None:
    """It stands before the first key, which no legal job has it do."""
    of = spec(mask=MASKS[name])
    arrays = operands(of, 6, 2)
    scales = parameters(of, score_multiplier=9000, score_shift=18)
    result = attention(*arrays, **scales)
    assert result.tolist() == reference(of, arrays, scales)
    assert name == "prefix" or not result[:, :4 - of.mask.lookahead].any()
    assert (result[:, 4:] != 0).any(axis=2).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("guard_bits", [2, 8])
def test_no_number_outgrows_its_width_when_all_values_are_the_least(algorithm: str, guard_bits: int) -> None:
    """The sums of weights lose to each rescale what the sums of values, rounded down, do not: the reference asserts widths."""
    of = spec(model={"head_dim": 4, "heads": 1, "kv_heads": 1}, numbers={"v": "int4", "out": "int16"},
              softmax=softmax(algorithm, mantissa_bits=8, guard_bits=guard_bits))
    for seed in range(60):
        q, k, v = operands(of, 4, 1 + seed, seed=seed)
        arrays = (q, np.sort(k, axis=1) if seed % 2 else k, np.full_like(v, of.v.low))
        scales = parameters(of, score_multiplier=1 << 10, score_shift=14 + seed % 5, out_scale=65535)
        assert attention(*arrays, **scales).tolist() == reference(of, arrays, scales)


@pytest.mark.parametrize(("number", "value"), attention_clamp.VALUES)
def test_a_mean_beyond_its_values_is_clamped(number: str, value: int) -> None:
    """The sum of weights lost more to rounded products than that of values."""
    of = spec(**attention_clamp.blocks(number))
    arrays, scales = attention_clamp.operands(value), parameters(of, **attention_clamp.SCALES)
    result = attention(*arrays, **scales)
    assert result.tolist() == reference(of, arrays, scales) and abs(result - value * 4000 / 4096).max() <= 9
    wider = attention(*arrays, **scales | {"value_width": of.v.width + 1})
    assert (wider != result).all() == (number == "int16")  # smaller values do not resolve what the clamp takes away


def test_golden_takes_narrow_numpy_types_and_long_jobs_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    of = spec(mask=MASKS["lambda"])
    arrays = operands(of, 9, 50)
    scales = parameters(of, score_multiplier=9000, score_shift=18)
    expected = attention(*arrays, **scales)
    monkeypatch.setattr("tilewright.sim.golden.attention.BLOCK_SCORES", 100)
    np.testing.assert_array_equal(attention(*(array.astype(np.int8) for array in arrays), **scales), expected)


def test_golden_refuses_what_it_does_not_know() -> None:
    of = spec()
    q, k, v = operands(of, 2, 64)
    scales = parameters(of, score_multiplier=0, score_shift=0)
    with pytest.raises(ValueError, match=r"shapes \(4, 2, 8\), \(2, 64, 8\) and \(2, 63, 8\) are not \(heads, queries"):
        attention(q, k, v[:, 1:], **scales)
    with pytest.raises(ValueError, match=r"shapes \(3, 2, 8\), \(2, 64, 8\)"):
        attention(q[1:], k, v, **scales)
    with pytest.raises(ValueError, match="mask must be one of none, causal, window, lambda, prefix, not 'other'"):
        visible(Mask.model_construct(kind="other", window=0, sink=0, prefix=0), 0, 0)
    with pytest.raises(ValueError, match="a sum of weights needs 23 bits; total_width is 22"):
        attention(q, k, v, **scales | {"total_width": 22})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_order_of_keys_matters_unless_their_maximum_comes_first(algorithm: str) -> None:
    of = spec(softmax=softmax(algorithm, mantissa_bits=9, guard_bits=1), numbers={"out": "int16"})
    q, k, v = operands(of, 3, 60)
    scales = parameters(of, score_multiplier=9000, score_shift=18, out_scale=65535)
    orders = [np.arange(60), np.arange(60)[::-1], *(np.random.default_rng(seed).permutation(60) for seed in range(6))]
    results = [attention(q, k[:, order], v[:, order], **scales).tolist() for order in orders]
    assert all(result == results[0] for result in results) == (algorithm in ("three_pass", "ibert"))


# ---- error ---------------------------------------------------------------------------------------


def bound(of: AttentionSpec, keys: int, out_scale: float) -> float:
    """How far a result may be from softmax attention in real numbers: derived, not measured.

    A weight is off by a factor of at most ``1 + e``: score and exponent each rounded to half a unit, log2(e) rounded, the
    table rounded and interpolated. That moves a weighted mean by ``2 * e / (1 - e)`` of the values' range. Each weight and each
    rescale also lose less than 1, of a sum of at least ``2**(mantissa_bits + guard_bits - 1)``. With ``online`` a weight is a
    product of as many exponentials as the greatest score rises behind it, of ``keys`` at most, and a rescale loses less
    than ``keys``: less than 1 of each weight before. I-BERT's parabola is off by 0.3 %, its linear coefficient by a step, and
    in each of 14 octaves ln 2 by a step and what the paper's four digits leave out; a sum is at least 2**14.
    """
    values = -of.v.low
    unit = 2.0**-of.fraction / 2
    if of.algorithm == "ibert":
        e = np.expm1(unit + 3e-3 + unit + 14 * (2 * unit + 5e-5))
        mean = 2 * e / (1 - e) * values + (2 * values * (keys + 1) + 1) / 2**14 + 2 * 2.0**-10
        return 0.5 + out_scale * mean + values * 2.0**-12
    table = 3 * 2.0**-of.mantissa_bits + (np.log(2) * 2.0**-of.table_bits) ** 2 / 8
    factors = keys if of.algorithm == "online" else 1
    e = np.expm1(unit + (unit * np.log(2) + table) * factors + 2.0 ** (15 - of.fraction) * 0.5 / 94548)
    lost = (2 * values * (keys * factors + 1) + 1) / 2 ** (of.mantissa_bits + of.guard_bits - 1)
    mean = 2 * e / (1 - e) * values + lost + 2 * 2.0**-10
    return 0.5 + out_scale * mean + values * 2.0**-12


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("out_scale", [1, 8])
def test_results_stay_within_the_bound_of_real_attention(name: str, algorithm: str, out_scale: int) -> None:
    """Measured on int8 values: 0.1 of their unit at most, ``ibert`` 0.25, where results resolve that (``out_scale`` 8)."""
    of = spec(mask=MASKS[name], softmax={"algorithm": algorithm}, numbers={"out": "int16"}, model={"head_dim": 64, "heads": 2,
              "kv_heads": 1}, engine={"tile_q": 4, "lanes": 8})
    for seed, shift in enumerate((17, 19, 20, 21, 23)):
        arrays = operands(of, 33, 64, seed=seed)
        scales = parameters(of, score_multiplier=9000, score_shift=shift, out_scale=4096 * out_scale)
        exact = float_attention(*arrays, mask=of.mask, score_scale=9000 / 2**shift / 2**of.fraction, out_scale=out_scale)
        error = np.abs(attention(*arrays, **scales) - exact).max()
        assert error <= bound(of, 64, out_scale), (shift, error)
        assert error <= 0.5 + (0.25 if algorithm == "ibert" else 0.1) * out_scale, (shift, error)


@pytest.mark.parametrize(("rising", "algorithm", "low", "high"), [
    (False, "two_pass", 0.06, 0.075), (False, "online_shift", 0.06, 0.075), (False, "online", 0.06, 0.075),
    (False, "three_pass", 0.06, 0.075), (False, "ibert", 0.06, 0.075),
    (True, "two_pass", 0.06, 0.075), (True, "online_shift", 0.06, 0.075), (True, "online", 0.35, 0.45),
    (True, "three_pass", 0.06, 0.075), (True, "ibert", 0.06, 0.075)])
def test_factors_lose_what_shifts_keep_where_every_score_is_the_greatest(
        rising: bool, algorithm: str, low: float, high: float) -> None:
    """Largest error over 1024 keys, in the unit of a value; a result's own rounding is a sixteenth of it."""
    of = spec(softmax={"algorithm": algorithm}, numbers={"out": "int16"}, model={"head_dim": 64, "heads": 2, "kv_heads": 1},
              limits={"queries": 64, "keys": 1024})
    worst = 0.0
    for seed in range(5):
        q, k, v = operands(of, 8, 1024, seed=seed)
        if rising:
            k = k[:, np.argsort(k[0] @ q[0, 0])]
        scales = parameters(of, score_multiplier=9000, score_shift=20, out_scale=8 * 4096)
        exact = float_attention(q, k, v, mask=of.mask, score_scale=9000 / 2**20 / 2**of.fraction, out_scale=8)
        worst = max(worst, np.abs(attention(q, k, v, **scales) - exact).max() / 8)
    assert low < worst < high


def test_float_attention_is_what_the_textbook_says() -> None:
    q, k, v = np.array([[[1, 0]]]), np.array([[[2, 5], [0, 1]]]), np.array([[[10, 0], [20, 1]]])
    p = np.exp(2.0) / (np.exp(2.0) + 1)
    np.testing.assert_allclose(float_attention(q, k, v, mask=mask("none"), score_scale=1.0, out_scale=2.0),
                               [[[2 * (20 - 10 * p), 2 * (1 - p)]]], rtol=1e-12)
    np.testing.assert_array_equal(float_attention(np.ones((1, 2, 2)), k[:, :1], v[:, :1], mask=mask("causal"),
                                                  score_scale=1.0, out_scale=1.0), [[[0, 0], [10, 0]]])
