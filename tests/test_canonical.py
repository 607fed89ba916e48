"""Claims about the canonical text of a design, its hash and its JSON Schema."""

from pathlib import Path
from typing import Any

import pytest
from jschon import JSON, JSONSchema, create_catalog
from pydantic import ValidationError
from tilewright.design import load_design, parse_design, schema_of
from tilewright.families.gemm.spec import GemmSpec
from tilewright.formats import FORMAT_NAMES
from tilewright.loader import scan

# jschon, which serves here as an independent validator, calls a deprecated part of rfc3986.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:rfc3986")

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("gemm_*.yaml"))



# -- canonical text and hash ---------------------------------------------------------------------------


def canonical(text: str, *overrides: str) -> tuple[str, str]:
    design = parse_design(text.encode(), source="x.yaml", overrides=overrides)
    return design.text, design.content_hash


SHORT = "design: gemm\nfamily: gemm\narray: {rows: 8, cols: 8}\n"
SPELLED_OUT = """# the same, in another order, with comments and defaults
workload:
- {k: 256, n: 128, m: 128}
array:
  pe_pipeline: 2
  cols: 8     # PEs
  rows: +8
numbers: {requant: {out: "int8"}, acc: auto}
'family': 'gemm'
design: gemm
"""


def test_hash_depends_on_the_meaning_alone() -> None:
    assert canonical(SHORT) == canonical(SPELLED_OUT)
    assert canonical(SHORT) == canonical(SHORT.replace("rows: 8", "rows: 3"), "array.rows=8")
    assert canonical(SHORT)[1] != canonical(SHORT, "top=axi")[1]
    assert canonical(SHORT)[1] != canonical(SHORT, "design=other")[1]


def test_canonical_text_and_hash_do_not_drift() -> None:
    """A change of this hash makes every cached build stale: change it on purpose only."""
    text, content_hash = canonical(SHORT)
    assert (
        text
        == """\
design: gemm
family: gemm
array:
  rows: 8
  cols: 8
  dataflow: output_stationary
  pe_pipeline: 2
numbers:
  act: int8
  weight: int8
  act_zero_point: false
  weight_zero_point: false
  acc: auto
  requant: {mode: rne, multiplier_bits: 24, out: int8}
  activation: none
limits:
  m: 128
  n: 128
  k: 256
top: stream
workload:
  - {m: 128, n: 128, k: 256, reuse_weights: false}
"""
    )
    assert content_hash == "e38f200ad0140216372f81b470dd6c94041efb8148d6279af5058e8aa4b4b18b"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_canonical_text_reads_back_as_the_same_design(path: Path) -> None:
    design = load_design(path)
    again = parse_design(design.text.encode(), source="again.yaml")
    assert (again.spec, again.text, again.content_hash) == (design.spec, design.text, design.content_hash)
    assert path.stem == design.name


@pytest.mark.parametrize("name", ["null_", "e1", "x_", "inf", "nan", "y", "no_", "on0"])
def test_names_that_look_like_other_things_survive_the_canonical_text(name: str) -> None:
    text, _ = canonical(SHORT.replace("gemm", f"'{name}'", 1))
    assert parse_design(text.encode(), source="again.yaml").name == name


# -- JSON Schema ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema() -> JSONSchema:
    create_catalog("2020-12")
    return JSONSchema(schema_of("gemm"))


def test_schema_is_valid_itself(schema: JSONSchema) -> None:
    assert schema.validate().valid


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_schema_accepts_the_examples_and_their_canonical_text(schema: JSONSchema, path: Path) -> None:
    assert schema.evaluate(JSON(scan(path.read_bytes()).data)).valid
    assert schema.evaluate(JSON(scan(load_design(path).text.encode()).data)).valid


@pytest.mark.parametrize(
    "override",
    [
        {"array": {"rows": 0, "cols": 8}},
        {"array": {"rows": 8}},
        {"array": {"rows": 8, "cols": 8, "x": 1}},
        {"numbers": {"act": "int17"}},
        {"numbers": {"acc": 49}},
        {"numbers": {"acc": {"overflow": "wrap"}}},
        {"numbers": {"requant": "rne"}},
        {"limits": {"k": 65537}},
        {"workload": []},
        {"workload": [{"m": 1}]},
        {"design": "a__b"},
        {"design": "A"},
        {"design": "a" * 49},
        {"family": "conv2d"},
        {"top": "apb"},
        {"x": 1},
    ],
)
def test_schema_refuses_what_the_spec_refuses(schema: JSONSchema, override: dict[str, Any]) -> None:
    data = {"design": "gemm", "family": "gemm", "array": {"rows": 8, "cols": 8}} | override
    assert not schema.evaluate(JSON(data)).valid
    with pytest.raises(ValidationError):
        GemmSpec.model_validate(data)


def test_schema_tells_defaults_and_choices_as_the_file_writes_them() -> None:
    numbers = schema_of("gemm")["$defs"]["Numbers"]["properties"]
    assert numbers["act"]["default"] == "int8" and tuple(numbers["act"]["enum"]) == FORMAT_NAMES
    assert numbers["requant"]["default"] == {"mode": "rne", "multiplier_bits": 24, "out": "int8"}
    assert all("description" in field for field in numbers.values())
