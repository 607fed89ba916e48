"""What every family's spec is: a frozen model whose fields are the YAML schema.

Everything that follows from the fields is a property of the spec. Fields check themselves; what
only several of them together can get wrong, a spec yields from ``problems``.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError
from tilewright import names
from tilewright.formats import FORMAT_NAMES, FORMAT_RANGE, IntFormat
from tilewright.loader import Route

BRANCH = "\0"  # begins the name of a union's branch in pydantic's locations; no key of a file has it
OBJECTION = "objection"  # type of an error whose text follows the field's name and value


@dataclass(frozen=True)
class Problem:
    """Fields that contradict each other; ``route`` leads to the one to change first."""

    route: Route
    text: str


class ContradictionError(ValueError):
    """All problems of a spec whose fields are valid one by one."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(f"{label(problem.route)}: {problem.text}" for problem in problems))
        self.problems = problems


def label(route: Route) -> str:
    """``route`` as a message shows it: `workload[2].m`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in route)
    return text.removeprefix(".")


class Part(BaseModel):
    """A mapping inside a spec: strict types, no unknown keys, frozen."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


def _design_name(value: Any) -> Any:
    if isinstance(value, str) and (text := names.objection(value)):
        raise PydanticCustomError(OBJECTION, "{text}", {"text": text})
    return value


DesignName = Annotated[
    str,
    BeforeValidator(_design_name),
    WithJsonSchema(
        {"type": "string", "pattern": names.NAME_PATTERN, "description": f"a name: {names.NAME_RULE}"}
    ),
]


def _int_format(value: Any) -> IntFormat:
    if isinstance(value, IntFormat):
        return value
    if not isinstance(value, str):
        raise ValueError("not the name of a format")
    return IntFormat.parse(value)


OperandFormat = Annotated[
    IntFormat,
    PlainValidator(_int_format),
    PlainSerializer(lambda value: value.name, return_type=str),
    WithJsonSchema({"enum": list(FORMAT_NAMES), "$comment": FORMAT_RANGE}),
]


class Spec(Part):
    """The fields and the checks that all families share."""

    design: DesignName
    family: str = Field(description="what kind of accelerator this is")

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the fields together; each was valid alone."""
        yield from ()

    def summary(self) -> list[tuple[str, str]]:
        """What the design comes to, a topic and a line on it each."""
        return []

    def derived(self) -> dict[str, Any]:
        """Every derived property by name, plain enough for JSON."""
        names_of_properties = [
            name
            for name in dir(type(self))
            if not name.startswith("_") and isinstance(inspect.getattr_static(type(self), name), property)
            and name not in dir(BaseModel)
        ]
        values = {name: getattr(self, name) for name in names_of_properties}
        return {name: value.name if isinstance(value, IntFormat) else value for name, value in values.items()}

    @model_validator(mode="after")
    def _check_together(self) -> "Spec":
        if problems := tuple(self.problems()):
            raise ContradictionError(problems)
        return self


def json_schema(spec_type: type[Spec]) -> dict[str, Any]:
    """The JSON Schema of a family's design file; its descriptions show up in editors."""
    schema = spec_type.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_untitled(schema)}


def _untitled(schema: Any) -> Any:
    """Without the titles pydantic makes from field names: they repeat the key."""
    if isinstance(schema, dict):
        return {
            key: _untitled(value)
            for key, value in schema.items()
            if key != "title" or not isinstance(value, str)
        }
    return [_untitled(value) for value in schema] if isinstance(schema, list) else schema
