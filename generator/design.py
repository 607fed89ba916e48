"""From a design file to a validated spec, with every mistake located.

    design = load_design("my.yaml", ["array.rows=5"])
    design.spec, design.text, design.content_hash

An override ``a.b=value`` replaces one field of the file. The value follows the rules of the file,
lists and mappings included: ``workload=[{m: 4, n: 4, k: 4}]``; an entry of a list is named by its
index: ``workload.0.m=8``.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from tilewright.canonical import canonical
from tilewright.diagnose import Finding, Schema, findings, not_allowed
from tilewright.errors import UserError
from tilewright.families import SPECS
from tilewright.loader import (
    REFUSED,
    START,
    Document,
    Mark,
    Mistake,
    Position,
    Route,
    located,
    read_limited,
    scan,
)
from tilewright.scalars import describe, one_line, shorten
from tilewright.spec import Spec, json_schema, label


@dataclass(frozen=True)
class Design:
    """A design file that was accepted.

    ``text`` is the canonical YAML: every default filled in, fields in the order of the schema.
    ``content_hash`` is its SHA-256, in hex: equal for files that mean the same design.
    """

    spec: Spec
    source: str
    overrides: tuple[str, ...]
    text: str
    content_hash: str

    @property
    def name(self) -> str:
        """The design's name, which its module and its folder carry."""
        return self.spec.design


def load_design(path: str | Path, overrides: Iterable[str] = ()) -> Design:
    """The design in the file ``path``, fields replaced by ``overrides``; ``UserError`` tells all mistakes."""
    return parse_design(read_limited(path), source=str(path), overrides=overrides)


def parse_design(content: bytes, *, source: str, overrides: Iterable[str] = ()) -> Design:
    """The design in ``content``; messages call it ``source``."""
    draft = _Draft(scan(content), one_line(source))
    given = tuple(overrides)
    if draft.document.data is not REFUSED:
        for override in given:
            draft.override(override)
    spec = draft.spec()
    text = canonical(spec)
    return Design(spec, source, given, text, hashlib.sha256(text.encode()).hexdigest())


@cache
def schema_of(family: str) -> Schema:
    """The JSON Schema of a family's design file."""
    return json_schema(SPECS[family])


def require_family(name: str) -> None:
    """``UserError`` unless there is a family called ``name``."""
    if name not in SPECS:
        raise UserError(not_allowed(("family",), name, list(SPECS)).text)


# -- the design being put together ---------------------------------------------------------------------


class _Draft:
    """A document, the overrides laid over it, and the messages so far."""

    def __init__(self, document: Document, source: str) -> None:
        self.document = document
        self.source = source
        self.overridden: dict[Route, str] = {}  # what was set or made, to the override that did
        self.named: dict[str, Route] = {}  # what an override names
        self.complaints: list[str] = []  # about overrides, in their order

    def override(self, text: str) -> None:
        """Lay ``a.b=value`` over the data."""
        shown = f"--set {shorten(one_line(text))}"
        path, equals, written = text.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(re.fullmatch("[A-Za-z0-9_]+", key) for key in keys):
            self.complaints.append(f"{shown}: an override is written field.field=value")
            return
        content = written.encode("utf-8", "surrogatepass")
        value = scan(content)
        if value.mistakes:
            self.complaints += [f"{shown}: {mistake.text}" for mistake in value.mistakes[:1]]
            return
        try:
            route, made = self._assign(keys, value.data)
        except ValueError as error:
            self.complaints.append(f"{shown}: {error}")
            return
        for places in (self.document.marks, self.overridden):
            for replaced in [known for known in places if known[: len(made)] == made]:
                del places[replaced]
        self.overridden[made] = shown
        self.named[shown] = route

    def _assign(self, keys: list[str], value: Any) -> tuple[Route, Route]:
        """Put ``value`` where ``keys`` lead; that route, and as much of it as had to be made.

        ``ValueError`` where they lead nowhere.
        """
        if self.document.data is None:
            self.document.data = {}
        here: Any = self.document.data
        route: Route = ()
        made: Route | None = None
        for index, key in enumerate(keys):
            is_last = index == len(keys) - 1
            step: Any = key
            if isinstance(here, list):
                if not re.fullmatch("0|[1-9][0-9]{0,5}", key) or int(key) >= len(here):
                    count = len(here)
                    raise ValueError(f"{label(route)} has no entry '{key}'; it has {count}, counted from 0")
                step = int(key)
            elif not isinstance(here, dict):
                raise ValueError(f"the design is {describe(here)}, not a mapping")
            route = (*route, step)
            if is_last:
                here[step] = value
            else:
                below = here[step] if isinstance(here, list) else here.get(key)
                if not isinstance(below, dict | list):
                    below = here[step] = {}
                    made = made or route
                here = below
        return route, made or route

    def spec(self) -> Spec:
        """The validated spec; ``UserError`` with every mistake of file and overrides."""
        data = self.document.data
        found: list[Finding] = []
        spec = None
        if isinstance(data, dict):
            spec, found = _validated(data)
        elif data is not REFUSED:
            what = "an empty file" if data is None else describe(data)
            found = [Finding((), f"{what} is no design; a design is a mapping of design, family and more")]
        self._report(found)
        assert spec is not None  # else there was something to report
        return spec

    def _report(self, found: list[Finding]) -> None:
        in_file = list(self.document.mistakes)
        in_overrides: list[tuple[int, str]] = []
        order = {text: index for index, text in enumerate(self.overridden.values())}
        for finding in found:
            override = self._override_of(finding.route)
            if override is None:
                in_file.append(Mistake(self._position(finding), finding.text))
            else:
                text = finding.text
                if finding.route == self.named[override]:
                    text = text.removeprefix(f"{label(finding.route)}: ")
                in_overrides.append((order[override], f"{override}: {text}"))
        messages = located(self.source, in_file) + self.complaints
        messages += [text for _, text in sorted(in_overrides)]
        if messages:
            raise UserError(*messages)

    def _override_of(self, route: Route) -> str | None:
        for length in range(len(route), 0, -1):
            if route[:length] in self.overridden:
                return self.overridden[route[:length]]
            if route[:length] in self.document.marks:
                return None
        return None

    def _position(self, finding: Finding) -> Position:
        route = finding.route
        while route and route not in self.document.marks:
            route = route[:-1]
        mark = self.document.marks.get(route, Mark(START, START))
        return mark.key if finding.at_key else mark.value


def _validated(data: dict[str, Any]) -> tuple[Spec | None, list[Finding]]:
    family = data.get("family")
    if "family" not in data:
        return None, [Finding((), f"key 'family' is missing; {' or '.join(SPECS)}")]
    if not isinstance(family, str) or family not in SPECS:
        return None, [] if family is REFUSED else [not_allowed(("family",), family, list(SPECS))]
    try:
        return SPECS[family].model_validate(data), []
    except ValidationError as error:
        return None, findings(error, data, schema_of(family))
