"""Claims about the golden codecs, against ml_dtypes and exact rationals."""

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from tilewright.sim.golden.units import codecs_fixed as fixed
from tilewright.sim.golden.units import codecs_float as floats
from tilewright.sim.golden.units import codecs_mx as mx

TYPES = {
    "bf16": (ml_dtypes.bfloat16, np.uint16),
    "e5m2": (ml_dtypes.float8_e5m2, np.uint8),
    "e4m3": (ml_dtypes.float8_e4m3fn, np.uint8),
    "e2m1": (ml_dtypes.float4_e2m1fn, np.uint8),
}
SEED = 20


def all_codes(form: str) -> NDArray[np.int64]:
    return np.arange(1 << floats.FORMATS[form].width, dtype=np.int64)


def theirs(codes: NDArray[np.int64], form: str) -> NDArray[np.float32]:
    """Codes read by ml_dtypes."""
    kind, raw = TYPES[form]
    return codes.astype(raw).view(kind).astype(np.float32)


def their_codes(bits: NDArray[np.int64], form: str) -> NDArray[np.int64]:
    """binary32 bits rounded by ml_dtypes."""
    kind, raw = TYPES[form]
    with np.errstate(all="ignore"):
        return bits.astype(np.uint32).view(np.float32).astype(kind).view(raw).astype(np.int64)


def edges(form: str) -> NDArray[np.int64]:
    """Every code of the format, every tie between neighbours, and the binary32 neighbours of both."""
    finite = np.arange(floats.FORMATS[form].max_code + 1, dtype=np.int64)
    values = theirs(finite, form).astype(np.float64)
    ties = (values[1:] + values[:-1]) / 2
    top = values[-1] + (values[-1] - values[-2]) / 2
    with np.errstate(over="ignore"):
        points = np.concatenate([values, ties, [top]]).astype(np.float32)
    bits = points.view(np.uint32).astype(np.int64)
    near = np.unique(np.concatenate([bits + delta for delta in (-2, -1, 0, 1, 2)]))
    near = near[(near >= 0) & (near <= floats.FLOAT32_INFINITY)]
    return np.concatenate([near, near | 1 << 31])


def random_bits(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(SEED).integers(0, 1 << 32, count, dtype=np.int64)


@pytest.mark.parametrize("form", TYPES)
def test_decode_equals_ml_dtypes_at_every_code(form: str) -> None:
    codes = all_codes(form)
    np.testing.assert_array_equal(floats.decode_float(codes, form=form), theirs(codes, form).view(np.uint32))


@pytest.mark.parametrize("form", TYPES)
def test_encode_equals_ml_dtypes_at_every_code_tie_and_neighbour(form: str) -> None:
    bits = edges(form)
    np.testing.assert_array_equal(floats.encode_float(bits, form=form), their_codes(bits, form))


@pytest.mark.parametrize("form", TYPES)
def test_encode_equals_ml_dtypes_at_every_bf16_code_and_random_binary32(form: str) -> None:
    bits = np.concatenate([np.arange(1 << 16, dtype=np.int64) << 16, random_bits(200_000)])
    if floats.FORMATS[form].nan_code is None:
        bits = bits[(bits & 0x7FFFFFFF) <= floats.FLOAT32_INFINITY]
    np.testing.assert_array_equal(floats.encode_float(bits, form=form), their_codes(bits, form))


@pytest.mark.parametrize("form", ["e5m2", "e4m3", "bf16"])
def test_saturating_encode_clamps_and_keeps_nan(form: str) -> None:
    target = floats.FORMATS[form]
    bits = np.concatenate([edges(form), random_bits(50_000)])
    magnitude = bits & 0x7FFFFFFF
    largest = int(theirs(np.array([target.max_code]), form).view(np.uint32)[0])
    clamped = np.where(magnitude <= floats.FLOAT32_INFINITY, np.minimum(magnitude, largest), magnitude)
    expected = their_codes(clamped | bits & 1 << 31, form)
    np.testing.assert_array_equal(floats.encode_float(bits, form=form, saturate=True), expected)


def test_a_format_without_nan_refuses_it() -> None:
    with pytest.raises(ValueError, match="e2m1 has no code for NaN"):
        floats.encode_float([0x7FC00000], form="e2m1")


def rounded(value: Fraction, rounding: str) -> int:
    if rounding == "trunc":
        return math.floor(value)
    if rounding == "rhu":
        return math.floor(value + Fraction(1, 2))
    return round(value)  # Python rounds rationals half to even


@pytest.mark.parametrize("rounding", fixed.ROUNDINGS)
@pytest.mark.parametrize("overflow", fixed.OVERFLOWS)
@pytest.mark.parametrize(("in_frac", "out_width", "out_frac"), [(8, 8, 4), (6, 6, 6), (3, 8, 7), (12, 4, 1)])
def test_fixed_convert_equals_rationals(
    rounding: str, overflow: str, in_frac: int, out_width: int, out_frac: int
) -> None:
    codes = np.arange(-(1 << 11), 1 << 11)
    half = 1 << out_width - 1
    expected = []
    for code in codes.tolist():
        value = rounded(Fraction(code, 1 << in_frac) * (1 << out_frac), rounding)
        value = (value + half) % (2 * half) - half if overflow == "wrap" else min(max(value, -half), half - 1)
        expected.append(value)
    seen = fixed.fixed_convert(
        codes, in_frac=in_frac, out_width=out_width, out_frac=out_frac, rounding=rounding, overflow=overflow
    )
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize(("width", "frac"), [(8, 4), (16, 12), (16, -3), (32, 30), (8, 60)])
def test_fixed_encode_equals_rationals(width: int, frac: int) -> None:
    rng = np.random.default_rng(SEED)
    scale = np.float32(2.0**-frac)
    codes = rng.integers(-(1 << width), 1 << width, 2000)
    near = (codes / 2).astype(np.float32) * scale  # ties, too
    bits = np.concatenate([near.view(np.uint32), rng.integers(0, 1 << 32, 3000, dtype=np.uint32)]).astype(np.int64)
    bits = np.concatenate([bits, bits + 1, [0, 1 << 31, 0x7F800000, 0xFF800000, 0x7F800001, 0xFFC00000, 1, 0x7FFFFF]])
    bits &= (1 << 32) - 1
    high = (1 << width - 1) - 1
    expected = []
    for value in bits.astype(np.uint32).view(np.float32).tolist():
        if math.isnan(value):
            expected.append(0)
        elif math.isinf(value):
            expected.append(high if value > 0 else -high - 1)
        else:
            scaled = Fraction(value) * (Fraction(1 << frac) if frac >= 0 else Fraction(1, 1 << -frac))
            expected.append(min(max(round(scaled), -high - 1), high))
    np.testing.assert_array_equal(fixed.fixed_encode(bits, width=width, frac=frac), expected)


@pytest.mark.parametrize("frac", [-94, -3, 0, 12, 60, 126])
def test_fixed_decode_equals_float_conversion(frac: int) -> None:
    rng = np.random.default_rng(SEED)
    codes = np.concatenate([np.arange(-600, 600), rng.integers(-(1 << 31), 1 << 31, 5000), [-(1 << 31), (1 << 31) - 1]])
    codes = np.concatenate([codes, rng.integers(-(1 << 31), 1 << 31, 5000) & -(1 << 7) | 1 << 6])  # ties
    singles = codes.astype(np.float32)  # to nearest even, once; the power of two is exact
    expected = (singles.astype(np.float64) * 2.0**-frac).astype(np.float32).view(np.uint32)
    np.testing.assert_array_equal(fixed.fixed_decode(codes, frac=frac), expected)
    halves = [
        float(Fraction(code)) if abs(code) < 256 else round(Fraction(code, 1 << abs(code).bit_length() - 8)) *
        2.0 ** (abs(code).bit_length() - 8)
        for code in codes.tolist()
    ]
    small = (np.array(halves) * 2.0**-frac).astype(ml_dtypes.bfloat16).view(np.uint16)
    np.testing.assert_array_equal(fixed.fixed_decode(codes, frac=frac, mantissa_bits=7), small)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8])
def test_pack_then_unpack_returns_every_value(width: int, signed: bool) -> None:
    low = -(1 << width - 1) if signed else 0
    every = np.arange(low, low + (1 << width))
    values = np.random.default_rng(SEED).permuted(np.tile(every, (8, 1)), axis=1).T
    packed = fixed.int_pack(values, width=width, signed=signed)
    assert packed.shape == (1 << width, width)
    np.testing.assert_array_equal(fixed.int_unpack(packed, lanes=8, width=width, signed=signed), values)


def test_pack_puts_the_first_lane_lowest_and_saturates() -> None:
    assert fixed.int_pack([1, -2, 100, -100], width=4).tolist() == [0xE1, 0x87]
    assert fixed.int_pack([[1, 15, 100, -100]], width=4, signed=False).tolist() == [[0xF1, 0x0F]]
    assert fixed.int_pack([-1, -1, -1], width=3).tolist() == [0xFF, 0x01]


@pytest.mark.parametrize(("width", "kind"), [(4, ml_dtypes.int4), (2, ml_dtypes.int2)])
def test_unpacked_fields_equal_ml_dtypes(width: int, kind: type) -> None:
    words = np.arange(256)
    fields = fixed.int_unpack(words[:, None], lanes=8 // width, width=width)
    expected = (words[:, None] >> np.arange(8 // width) * width).astype(np.int8).astype(kind).astype(np.int64)
    np.testing.assert_array_equal(fields, expected)


def bf16_blocks(count: int, size: int = 32) -> NDArray[np.int64]:
    """Random blocks of every exponent, with spreads from none to the whole range; then the corners."""
    rng = np.random.default_rng(SEED)
    top = rng.integers(0, 255, (count, 1))
    spread = rng.choice([1, 2, 5, 12, 40, 255], (count, 1))
    field = np.maximum(top - rng.integers(0, 256, (count, size)) % spread, 0)
    codes = rng.integers(0, 2, field.shape) << 15 | field << 7 | rng.integers(0, 128, field.shape)
    ties = np.arange(128) & ~0x0F | 0x08
    corners = [
        np.zeros(size), np.full(size, 0x8000), np.arange(size), np.arange(size) << 2, 0x7F7F - np.arange(size),
        np.r_[0x7F80, np.arange(size - 1)], np.r_[np.arange(size - 1), 0xFFC1],
    ]
    corners += [np.resize(field << 7 | ties[:32], size) for field in (0, 1, 2, 3, 127, 254)]
    return np.concatenate([codes, np.array(corners, np.int64)])


@pytest.mark.parametrize("element", mx.ELEMENTS)
def test_mx_encode_equals_scale_and_elements_by_ml_dtypes(element: str) -> None:
    blocks = bf16_blocks(4000)
    scales, elements = mx.mx_encode(blocks, element=element)
    values = theirs(blocks, "bf16").astype(np.float64)
    for block, scale, codes in zip(values, scales, elements, strict=True):
        if not np.all(np.isfinite(block)):
            assert scale == 255 and not codes.any()
            continue
        largest = np.abs(block).max()
        exponent = math.frexp(largest)[1] - 1 - mx.EMAX[element] if largest else -127
        shared = max(exponent, -127)
        assert scale == shared + 127
        assert np.array([scale], np.uint8).view(ml_dtypes.float8_e8m0fnu).astype(np.float64)[0] == 2.0**shared
        scaled = block * 2.0**-shared
        if element == "e2m1":
            expected = scaled.astype(ml_dtypes.float4_e2m1fn).view(np.uint8)
        else:
            expected = np.clip(np.rint(scaled * 64), -127, 127)  # rint is half to even
        np.testing.assert_array_equal(codes, expected)


@pytest.mark.parametrize("element", mx.ELEMENTS)
def test_mx_decode_equals_ml_dtypes_at_every_scale_and_element(element: str) -> None:
    codes = np.arange(16) if element == "e2m1" else np.arange(-128, 128)
    scales = np.arange(256)
    seen = mx.mx_decode(scales, np.tile(codes, (256, 1)), element=element)
    values = theirs(codes, "e2m1").astype(np.float64) if element == "e2m1" else codes / 64
    powers = scales.astype(np.uint8).view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    with np.errstate(all="ignore"):
        products = powers[:, None] * values
        expected = products.astype(ml_dtypes.bfloat16).view(np.uint16)
        finite = expected[:-1]
        held = np.isinf(finite.view(ml_dtypes.bfloat16).astype(np.float64)) | (
            finite.view(ml_dtypes.bfloat16).astype(np.float64) == products[:-1]
        )
    assert held.all()  # nothing was rounded
    np.testing.assert_array_equal(seen[:-1], finite)
    assert (seen[-1] == mx.BFLOAT16_NAN).all()
