"""Claims about the codec units that no generic proof makes: their stimuli reach every code, what is refused."""

import numpy as np
import pytest
from pydantic import ValidationError
from tilewright.rtl.units import float_format, mx_encode
from tilewright.sim.golden.units import codecs_float, codecs_mx
from tilewright.units import UNITS
from tilewright.units.fixed_point import FixedConvertParameters
from tilewright.units.float_codecs import Bf16EncodeParameters
from tilewright.units.int_pack import IntPackParameters, IntUnpackParameters
from tilewright.units.mx_codecs import MxEncodeParameters


@pytest.mark.parametrize(("name", "form"), [
    ("bf16", float_format.BF16), ("e4m3", float_format.E4M3), ("e5m2", float_format.E5M2)])
def test_hardware_and_golden_model_mean_the_same_format(name: str, form: float_format.FloatFormat) -> None:
    golden = codecs_float.FORMATS[name]
    assert (form.width, form.bias, form.largest, form.infinity, form.nan) == (
        golden.width, golden.bias, golden.max_code, golden.infinity_code, golden.nan_code)


@pytest.mark.parametrize("name", ["e4m3_encode", "e5m2_encode"])
def test_a_sample_of_an_fp8_encoder_reaches_every_code(name: str) -> None:
    unit = UNITS[name]
    p = unit.parameters_type()
    codes = set(unit.golden(p, unit.stimulus(p, np.random.default_rng(1), 4096))["code"].tolist())
    form = codecs_float.FORMATS[name[:4]]
    assert codes >= {sign | code for sign in (0, 0x80) for code in range(form.max_code + 1)}


def test_a_full_proof_of_the_bf16_encoder_reaches_every_code() -> None:
    unit = UNITS["bf16_encode"]
    p = unit.parameters_type()
    codes = unit.golden(p, unit.stimulus(p, np.random.default_rng(1), 1_000_000))["code"]
    assert len(np.unique(codes)) >= 2 * 0x7F80 + 2


@pytest.mark.parametrize("name", ["e4m3_decode", "e5m2_decode", "bf16_decode", "fixed_convert", "fixed_decode"])
def test_a_full_proof_tries_every_input_code(name: str) -> None:
    unit = UNITS[name]
    assert unit.domain(unit.parameters_type()) is not None


@pytest.mark.parametrize("element", codecs_mx.ELEMENTS)
def test_a_sample_of_an_mx_encoder_reaches_every_element_and_almost_every_scale(element: str) -> None:
    unit = UNITS["mxfp4_encode" if element == "e2m1" else "mxint8_encode"]
    p = unit.parameters_type()
    results = unit.golden(p, unit.stimulus(p, np.random.default_rng(1), 40_000))
    assert len(np.unique(results["element"])) == (16 if element == "e2m1" else 255)
    assert len(np.unique(results["scale"])) > 240


def test_e2m1_rounding_table_equals_the_golden_model() -> None:
    entries = np.arange(64)
    value = (entries >> 1) * 4 + (entries & 1)  # sixteenths
    expected = codecs_float.round_to_format(np.full(64, 19), value, codecs_float.FORMATS["e2m1"])
    np.testing.assert_array_equal(mx_encode.e2m1_codes(), np.minimum(expected, 7))


@pytest.mark.parametrize(("parameters", "message"), [
    (lambda: FixedConvertParameters(in_width=8, in_frac=4, out_frac=-5),
     "-5 leaves nothing of 8 bits with 4 fraction bits; the nearest legal value is -4"),
    (lambda: FixedConvertParameters(in_frac=0, out_frac=40),
     "40 moves x by more than 31 places; the nearest legal value is 31"),
    (lambda: IntPackParameters(in_width=3), "3 is below the 4 bits of a packed value; the nearest legal value is 4"),
    (lambda: IntUnpackParameters(width=1), "1 leaves only a sign; the nearest legal value is 2"),
    (lambda: MxEncodeParameters(lanes=5), "5 does not divide the block of 32; the nearest legal value is 4"),
    (lambda: Bf16EncodeParameters(wide="bf16"), "binary32"),  # type: ignore[arg-type]
])
def test_what_makes_no_codec_is_refused_with_the_nearest_legal_value(parameters: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parameters()  # type: ignore[operator]
