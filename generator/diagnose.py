"""From a refused spec to messages a person can act on: where, what was written, what is allowed.

What is allowed is read off the JSON Schema of the family, so a message and the schema that
editors use cannot disagree.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from tilewright.loader import REFUSED, Route
from tilewright.scalars import describe, shorten
from tilewright.spec import BRANCH, OBJECTION, ContradictionError, label

MANY = 8  # choices; of more, the schema's comment says what they are

Schema = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """A mistake in the design: its text, and the route of the node (or of its key) that holds it."""

    route: Route
    text: str
    at_key: bool = False


def findings(error: ValidationError, data: Any, schema: Schema) -> list[Finding]:
    """Everything that ``error`` holds against ``data``, each once.

    Nodes the loader refused are passed over: they were reported.
    """
    found: dict[Finding, None] = {}
    too_short: set[str] = set()  # lists in which only valid entries were counted
    items = error.errors(include_url=False)
    unknown = {_route(item["loc"]) for item in items if item["type"] == "extra_forbidden"}
    hinted = {(*route[:-1], near) for route in unknown if (near := _near_key(route, data, schema))}
    for item in items:
        route = _route(item["loc"])
        if item["type"] == "value_error" and isinstance(item["ctx"]["error"], ContradictionError):
            for problem in item["ctx"]["error"].problems:
                found[Finding(problem.route, f"{label(problem.route)}: {problem.text}")] = None
        elif item["type"] == "missing":
            if route not in hinted and _at(data, route[:-1]) is not REFUSED:
                found[missing(route, schema)] = None
        elif item["type"] == "extra_forbidden":
            found[Finding(route, _unknown_key(route, data, schema), at_key=True)] = None
        else:
            route = _written(data, route)
            value = _at(data, route)
            if value is not REFUSED:
                objection = item["msg"] if item["type"] == OBJECTION else None
                text = _value_text(route, value, objection, schema)
                found[Finding(route, text)] = None
                if item["type"] == "too_short":
                    too_short.add(text)
    begun = {finding.route[:length] for finding in found for length in range(len(finding.route))}
    return [finding for finding in found if not (finding.route in begun and finding.text in too_short)]


def missing(route: Route, schema: Schema) -> Finding:
    """The finding that the key at the end of ``route`` is not there."""
    where = f" in {label(route[:-1])}" if len(route) > 1 else ""
    return Finding(route[:-1], f"key '{route[-1]}' is missing{where}; {allowed(node(schema, route), schema)}")


def not_allowed(route: Route, value: Any, choices: list[str]) -> Finding:
    """The finding that ``value`` is none of ``choices``."""
    text = f"{label(route)}: {describe(value)} is not {_one_of(choices)}{_did_you_mean(value, choices)}"
    return Finding(route, text)


# -- routes --------------------------------------------------------------------------------------------


def _route(location: tuple[int | str, ...]) -> Route:
    """pydantic's location without the names of union branches."""
    return tuple(step for step in location if not (isinstance(step, str) and step.startswith(BRANCH)))


def _step(data: Any, step: str | int) -> tuple[bool, Any]:
    if isinstance(data, dict) and step in data:
        return True, data[step]
    if isinstance(data, list | tuple) and isinstance(step, int) and step < len(data):
        return True, data[step]
    return False, None


def _written(data: Any, route: Route) -> Route:
    """As much of ``route`` as was written down."""
    for length, step in enumerate(route):
        there, data = _step(data, step)
        if not there:
            return route[:length]
    return route


def _at(data: Any, route: Route) -> Any:
    for step in route:
        _, data = _step(data, step)
    return data


# -- the schema ----------------------------------------------------------------------------------------


def _branches(schema: Schema, root: Schema) -> Iterator[Schema]:
    """``schema`` with references followed and unions taken apart."""
    if "$ref" in schema:
        yield from _branches(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    elif "oneOf" in schema or "anyOf" in schema:
        for branch in schema.get("oneOf", []) + schema.get("anyOf", []):
            yield from _branches(branch, root)
    else:
        yield schema


def node(root: Schema, route: Route) -> Schema:
    """The part of the schema that describes what ``route`` leads to; empty if there is none."""
    here = root
    for step in route:
        below: list[Schema] = []
        for branch in _branches(here, root):
            if isinstance(step, int) and "items" in branch:
                below.append(branch["items"])
            elif step in branch.get("properties", {}):
                below.append(branch["properties"][step])
        if not below:
            return {}
        here = below[0]
    return here


def allowed(schema: Schema, root: Schema) -> str:
    """What ``schema`` accepts, in words."""
    words: list[str] = []
    for branch in _branches(schema, root):
        if "const" in branch:
            words.append(str(branch["const"]))
        elif "enum" in branch:
            listed = len(branch["enum"]) <= MANY
            words.append(_one_of(branch["enum"]) if listed else branch["$comment"])
        elif branch.get("type") == "integer":
            words.append(f"an integer from {branch['minimum']} to {branch['maximum']}")
        elif branch.get("type") == "boolean":
            words.append("true or false")
        elif branch.get("type") == "array":
            least, most = branch["minItems"], branch["maxItems"]
            what = "integers" if branch["items"].get("type") == "integer" else "mappings"
            words.append(f"a list of {least if least == most else f'{least} to {most}'} {what}")
        elif branch.get("type") == "object":
            words.append(f"a mapping of {', '.join(branch['properties'])}")
        else:
            words.append(branch["description"])
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _one_of(choices: Sequence[str | int]) -> str:
    return str(choices[0]) if len(choices) == 1 else f"one of {', '.join(map(str, choices))}"


def _keys(root: Schema, route: Route) -> list[str]:
    return [key for branch in _branches(node(root, route), root) for key in branch.get("properties", {})]


def _homes(root: Schema, key: str, start: Route = ()) -> Iterator[Route]:
    """Where else a key called ``key`` could stand; lists are not searched."""
    for known in _keys(root, start):
        if known == key and start:
            yield start
        yield from _homes(root, key, (*start, known))


# -- texts ---------------------------------------------------------------------------------------------


def _did_you_mean(value: Any, choices: list[str]) -> str:
    if not isinstance(value, str):
        return ""
    cutoff = 0.6 if len(choices) <= MANY else 1.0  # among many, only another case is a near miss
    near = get_close_matches(value.lower(), choices, n=1, cutoff=cutoff)
    return f"; did you mean '{near[0]}'?" if near else ""


def _near_key(route: Route, data: Any, schema: Schema) -> str | None:
    """The key that an unknown one was probably meant to be: known there, and not written yet."""
    written = _at(data, route[:-1])
    free = [key for key in _keys(schema, route[:-1]) if key not in written]
    near = get_close_matches(str(route[-1]).lower(), free, n=1)
    return near[0] if near else None


def _unknown_key(route: Route, data: Any, schema: Schema) -> str:
    where = f" in {label(route[:-1])}" if len(route) > 1 else ""
    text = f"unknown key {shorten(repr(route[-1]))}{where}"
    if near := _near_key(route, data, schema):
        return f"{text}; did you mean '{near}'?"
    homes = list(_homes(schema, str(route[-1])))
    if len(homes) == 1:
        return f"{text}; it belongs in {label(homes[0])}"
    return f"{text}; known are {', '.join(_keys(schema, route[:-1]))}"


def _value_text(route: Route, value: Any, objection: str | None, root: Schema) -> str:
    head = f"{label(route)}: " if route else ""
    if objection:
        return f"{head}{describe(value)} {objection}"
    schema = node(root, route) if route else root
    choices = [
        choice for branch in _branches(schema, root)
        for choice in [*branch.get("enum", []), branch.get("const")] if isinstance(choice, str)
    ]
    return f"{head}{describe(value)} is not {allowed(schema, root)}{_did_you_mean(value, choices)}"


