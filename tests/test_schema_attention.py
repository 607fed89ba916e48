"""Claims about the JSON Schema of `family: attention`: examples follow it, and it refuses what the spec refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from jschon import JSON, JSONSchema, create_catalog
from pydantic import ValidationError
from tilewright.canonical import canonical
from tilewright.families.attention.spec import AttentionSpec
from tilewright.loader import scan
from tilewright.spec import json_schema

# jschon, which serves here as an independent validator, calls a deprecated part of rfc3986.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:rfc3986")

ROOT = Path(__file__).parents[1]
EXAMPLES = [*sorted((ROOT / "examples").glob("attention_*.yaml")), ROOT / "templates/new/attention.yaml"]
SCHEMA = json_schema(AttentionSpec)


@pytest.fixture(scope="module")
def schema() -> JSONSchema:
    create_catalog("2020-12")
    return JSONSchema(SCHEMA)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_examples_read_back_and_follow_the_schema(schema: JSONSchema, path: Path) -> None:
    data = scan(path.read_bytes()).data
    found = AttentionSpec.model_validate(data)
    again = scan(canonical(found).encode()).data
    assert AttentionSpec.model_validate(again) == found and canonical(AttentionSpec.model_validate(again)) == canonical(found)
    assert schema.validate().valid
    assert schema.evaluate(JSON(data)).valid and schema.evaluate(JSON(again)).valid
    json.dumps(found.derived())
    assert [topic for topic, _ in found.summary() if topic not in ("bias", "rotary", "cache")] == [
        "model", "engine", "top", "mask", "softmax", "numbers", "limits", "buffers", "workload"]


@pytest.mark.parametrize(
    "override",
    [
        {"model": {"head_dim": 257}},
        {"engine": {"tile_q": 0}},
        {"engine": {"x": 1}},
        {"mask": "band"},
        {"mask": {"kind": "window", "window": -1}},
        {"mask": {"window": 1}},
        {"softmax": {"algorithm": "exact"}},
        {"numbers": {"q": "uint8"}},
        {"limits": {"keys": 0}},
        {"workload": []},
        {"workload": [{"queries": 1}]},
        {"top": "axi"},
        {"family": "gemm"},
    ],
)
def test_schema_refuses_what_the_spec_refuses(schema: JSONSchema, override: dict[str, Any]) -> None:
    data = {"design": "attention", "family": "attention"} | override
    assert not schema.evaluate(JSON(data)).valid
    with pytest.raises(ValidationError):
        AttentionSpec.model_validate(data)
