"""The numeric unit library: every unit by its name.

A unit is one class: its fields, its twins (RTL, golden model, HLS C++), its stimulus, its timing and its
error claim. A line here is all that makes it known to ``tilewright verify --unit`` and to the tests.
"""

from typing import Any

from tilewright.units.activation import Gelu, Sigmoid, Silu, Tanh
from tilewright.units.argmax import ArgMax
from tilewright.units.base import Unit
from tilewright.units.compact import Compact
from tilewright.units.counting_sort import CountingSort
from tilewright.units.elementwise import Dyadic, DyadicAdd, Multiply, ReduceMean, ResidualAdd, UnaryTable
from tilewright.units.exp2 import Exp2
from tilewright.units.exponential import Exp, ExpParts, Log2
from tilewright.units.fixed_point import FixedConvert, FixedDecode, FixedEncode
from tilewright.units.float_codecs import Bf16Decode, Bf16Encode, E4m3Decode, E4m3Encode, E5m2Decode, E5m2Encode
from tilewright.units.ibert import IExp, IGelu
from tilewright.units.int_pack import IntPack, IntUnpack
from tilewright.units.layer_norm_ibert import LayerNormIBert
from tilewright.units.mx_codecs import Mxfp4Decode, Mxfp4Encode, Mxint8Decode, Mxint8Encode
from tilewright.units.normalization import LayerNorm, RmsNorm
from tilewright.units.prefix_sum import PrefixSum
from tilewright.units.reciprocal import Divide, Isqrt, Reciprocal, ReciprocalExact, RsqrtDegree
from tilewright.units.requantize import Requantize
from tilewright.units.softmax_edge_moe import SoftmaxEdgeMoe
from tilewright.units.softmax_exponent import SoftmaxOnlineShift, SoftmaxTwoPass
from tilewright.units.softmax_ibert import SoftmaxIBert
from tilewright.units.softmax_online import SoftmaxOnline
from tilewright.units.softmax_table import SoftmaxTable
from tilewright.units.softmax_three_pass import SoftmaxThreePass
from tilewright.units.softmax_unified import SoftmaxUnified
from tilewright.units.topk import TopK
from tilewright.units.topk_bitonic import TopKBitonic
from tilewright.units.topk_quickselect import TopKQuickselect

_UNITS: tuple[Unit[Any], ...] = (
    Exp2(),
    Exp(),
    ExpParts(),
    Log2(),
    Reciprocal(),
    ReciprocalExact(),
    Divide(),
    Isqrt(),
    RsqrtDegree(),
    Sigmoid(),
    Tanh(),
    Silu(),
    Gelu(),
    SoftmaxTwoPass(),
    SoftmaxOnlineShift(),
    SoftmaxThreePass(),
    SoftmaxOnline(),
    SoftmaxUnified(),
    SoftmaxIBert(),
    SoftmaxEdgeMoe(),
    SoftmaxTable(),
    LayerNorm(),
    RmsNorm(),
    LayerNormIBert(),
    IExp(),
    IGelu(),
    Requantize(),
    ResidualAdd(),
    Dyadic(),
    DyadicAdd(),
    Multiply(),
    ReduceMean(),
    UnaryTable(),
    ArgMax(),
    TopK(),
    Compact(),
    PrefixSum(),
    Bf16Encode(),
    Bf16Decode(),
    E4m3Encode(),
    E4m3Decode(),
    E5m2Encode(),
    E5m2Decode(),
    FixedConvert(),
    FixedEncode(),
    FixedDecode(),
    IntPack(),
    IntUnpack(),
    TopKBitonic(),
    TopKQuickselect(),
    CountingSort(),
    Mxfp4Encode(),
    Mxfp4Decode(),
    Mxint8Encode(),
    Mxint8Decode(),
)

UNITS: dict[str, Unit[Any]] = {unit.name: unit for unit in _UNITS}
