"""The registry of families."""

from tilewright.families.attention.family import AttentionFamily
from tilewright.families.base import Family
from tilewright.families.gemm.family import GemmFamily
from tilewright.spec import Spec

FAMILIES: dict[str, Family] = {family.name: family for family in (
    GemmFamily(),
    AttentionFamily(),
)}

SPECS: dict[str, type[Spec]] = {name: family.spec_type for name, family in FAMILIES.items()}


def family_of(spec: Spec) -> Family:
    """The family that ``spec`` belongs to."""
    return FAMILIES[spec.family]
