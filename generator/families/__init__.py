"""The registry of families."""

from tilewright.families.gemm import GemmSpec
from tilewright.spec import Spec

SPECS: dict[str, type[Spec]] = {"gemm": GemmSpec}
