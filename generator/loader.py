"""A narrowed YAML loader: plain data, and where each piece of it was written.

YAML has several readings of one text: `no` is false to some readers, `010` is 8 to others, an alias
can blow a small file up to gigabytes. This loader accepts what all readers agree on (mappings with
words as keys, lists, `null`, `true`, `false`, decimal numbers, text) and refuses the rest by file,
line and column: tags, anchors, aliases, merge keys, dates, octal, hexadecimal and sexagesimal
numbers, duplicate keys, a second document. `no`, `yes`, `on` and `off` are text.

The syntax is parsed to events by PyYAML; everything from there on is done here, without recursion.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from tilewright.errors import UserError
from tilewright.scalars import UNWANTED, describe, one_line, quoted, resolve, shorten

MAX_BYTES = 1 << 20
TOO_LARGE = "larger than 1 MiB, the most a YAML file may have"
MAX_NODES = 50_000
MAX_DEPTH = 32
MAX_SHOWN = 50  # mistakes told at once

Route = tuple[str | int, ...]  # keys and indices from the root to a node


class _Refused:
    """Stands in the data for a node that was refused; whoever reads on passes over it."""

    def __repr__(self) -> str:
        return "<refused>"


REFUSED = _Refused()


@dataclass(frozen=True, order=True)
class Position:
    """Line and column, both counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


START = Position(1, 1)


@dataclass(frozen=True)
class Mark:
    """Where a node begins, and its key where it has one (else the node again)."""

    key: Position
    value: Position


@dataclass(frozen=True)
class Mistake:
    """What is wrong, and where."""

    position: Position
    text: str


@dataclass
class Document:
    """What a YAML text holds: ``data``, a mark for every node, and what was refused on the way."""

    data: Any = None
    marks: dict[Route, Mark] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)


def load_yaml(path: str | Path) -> Document:
    """The document in the file ``path``; ``UserError`` with every mistake located."""
    document = scan(read_limited(path))
    if document.mistakes:
        raise UserError(*located(one_line(str(path)), document.mistakes))
    return document


def located(source: str, mistakes: list[Mistake]) -> list[str]:
    """The messages ``source:line:column: text``, in the order of the file, ``MAX_SHOWN`` at most."""
    ordered = sorted(set(mistakes), key=lambda mistake: (mistake.position, mistake.text))
    messages = [f"{source}:{mistake.position}: {mistake.text}" for mistake in ordered[:MAX_SHOWN]]
    if len(ordered) > MAX_SHOWN:
        first, count = ordered[MAX_SHOWN].position, len(ordered) - MAX_SHOWN
        messages.append(f"{source}:{first}: and {count} more mistakes from here on")
    return messages


def read_limited(path: str | Path) -> bytes:
    """The bytes of a file of at most ``MAX_BYTES``; ``UserError`` when there is no such thing."""
    name = one_line(str(path))
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{name}: a directory; a YAML file is expected") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{name}: cannot be read: {reason.lower()}") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{name}: {TOO_LARGE}")
    return content


def scan(content: bytes) -> Document:
    """The document in ``content``. Never raises: what cannot be accepted is among ``mistakes``."""
    document = Document(data=REFUSED)
    try:
        if len(content) > MAX_BYTES:
            raise _Stop(START, TOO_LARGE)
        text = _decode(content)
        _Builder(document).build(text)
    except _Stop as stop:
        document.data = REFUSED  # what was built so far would only look as if something were missing
        document.mistakes.append(stop.mistake)
    return document


class _Stop(Exception):
    """A mistake after which nothing more can be read."""

    def __init__(self, position: Position, text: str) -> None:
        super().__init__(text)
        self.mistake = Mistake(position, text)


# -- from bytes to text --------------------------------------------------------------------------------


def _decode(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _Stop(START, "UTF-16 text; save the file as UTF-8")
    if content[:3] == b"\xef\xbb\xbf":
        raise _Stop(START, "a byte order mark; save the file as UTF-8 without one")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        raise _Stop(_end_of(before), f"byte 0x{content[error.start]:02x} is not UTF-8 text") from None
    if unwanted := UNWANTED.search(text):
        code = ord(unwanted[0])
        raise _Stop(_end_of(text[: unwanted.start()]), f"character U+{code:04X} is not text; remove it")
    return text


def _end_of(text: str) -> Position:
    lines = re.split("\r\n|\r|\n", text)
    return Position(len(lines), len(lines[-1]) + 1)


# -- from text to events -------------------------------------------------------------------------------


class _PurePythonParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """For a PyYAML that was installed without libyaml; about 20 times slower."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


_Parser: Any = getattr(yaml, "CLoader", _PurePythonParser)

_TOO_DEEP = "exceeded maximum nesting depth"
_TAB = "a tab; indent with spaces"
_STRAY_COLON = "a ':' where no key can stand; check the indentation, or quote the text"
_PLAINER = {
    "found a tab character that violates indentation": _TAB,
    "mapping values are not allowed in this context": _STRAY_COLON,
    "mapping values are not allowed here": _STRAY_COLON,
    "found unexpected end of stream": "the text ends inside quotes",
    "could not find expected ':'": "a line that is neither 'key: value' nor '- item'",
    "did not find expected key": "a line that does not fit the indentation of the lines before it",
}


def _events(text: str) -> Iterator[Any]:
    """PyYAML's events for ``text``; any failure of its parser is a ``_Stop``."""
    position, told = START, 0
    try:
        parser = _Parser(text)
        while parser.check_event():
            event = parser.get_event()
            position, told = _position(event.start_mark), told + 1
            yield event
    except yaml.MarkedYAMLError as error:
        if _TOO_DEEP in str(error.problem) and error.problem_mark:
            # libyaml from 0.2.6 on refuses such text before it tells the first event of it; up to there it reads.
            yield from islice(_events(text[:error.problem_mark.index]), told, None)
        raise _syntax_error(text, error) from None
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # PyYAML lets errors of chr() and int() through; the last event is the nearest known place.
        raise _Stop(position, "not YAML: something after this place cannot be read") from None


def _position(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _syntax_error(text: str, error: yaml.MarkedYAMLError) -> _Stop:
    mark: Any = error.problem_mark or error.context_mark
    problem = str(error.problem)
    context = str(error.context or "")
    if "start any token" in problem:
        character = text[mark.index : mark.index + 1]
        if character == "\t":
            return _Stop(_position(mark), _TAB)
        return _Stop(_position(mark), f"{character!r} cannot start a value; quote it")
    opened: Any = error.context_mark
    if opened is not None and mark.index >= len(text.rstrip()):
        for kind, name in (("flow mapping", "a '{'"), ("flow sequence", "a '['"), ("quoted", "a quote")):
            if kind in context:
                return _Stop(_position(opened), f"{name} that is never closed")
    lines = _end_of(text)
    position = min(_position(mark), lines)
    if problem in _PLAINER:
        return _Stop(position, _PLAINER[problem])
    return _Stop(position, f"not YAML: {problem}" + (f" {context}" if context else ""))


# -- from events to data -------------------------------------------------------------------------------


@dataclass
class _Frame:
    """A mapping or list under construction."""

    container: dict[str, Any] | list[Any]
    route: Route | None  # None inside a node that was refused: nothing there gets a mark
    position: Position
    expects_key: bool = False
    key: str | None = None  # None while a value is due: its key was refused
    key_position: Position = START
    key_lines: dict[str, int] = field(default_factory=dict)


class _Builder:
    """Builds the data of one document from events; mistakes that allow reading on are collected."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.frames: list[_Frame] = []
        self.documents = 0
        self.nodes = 0

    def build(self, text: str) -> None:
        self.document.data = None
        for event in _events(text):
            position = _position(event.start_mark)
            if isinstance(event, yaml.DocumentStartEvent):
                self._start_document(event, position)
            elif isinstance(event, yaml.ScalarEvent):
                self._count(position)
                self._place(self._scalar(event, position), position)
            elif isinstance(event, yaml.AliasEvent):
                self._refuse(position, f"alias '*{event.anchor}'; write the value out")
                self._count(position)
                self._place(REFUSED, position)
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._count(position)
                self._open(event, position)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                self.frames.pop()

    def _refuse(self, position: Position, text: str) -> None:
        self.document.mistakes.append(Mistake(position, text))

    def _count(self, position: Position) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _Stop(position, f"more than {MAX_NODES} values and keys, the most a file may have")

    def _start_document(self, event: Any, position: Position) -> None:
        self.documents += 1
        if self.documents > 1:
            raise _Stop(position, "a second document; a file holds one")
        if event.version or event.tags:
            self._refuse(position, "a % directive; remove it")

    def _plain_node(self, event: Any, position: Position) -> bool:
        """Whether the node has neither tag nor anchor; both are refused."""
        if event.anchor is not None:
            self._refuse(position, f"anchor '&{event.anchor}'; write the value out where it is needed")
        if event.tag is not None:
            tag = shorten(one_line(event.tag))
            self._refuse(position, f"tag '{tag}'; types follow from the values, remove it")
        return event.anchor is None and event.tag is None

    def _scalar(self, event: Any, position: Position) -> Any:
        if not self._plain_node(event, position):
            return REFUSED
        try:
            if event.style:  # quotes, or a block of text
                return quoted(event.value)
            if self.frames and self.frames[-1].expects_key and event.value == "<<":
                raise ValueError("merge key '<<'; write the fields out")
            return resolve(event.value)
        except ValueError as error:
            self._refuse(position, str(error))
            return REFUSED

    def _open(self, event: Any, position: Position) -> None:
        accepted = self._plain_node(event, position)
        if len(self.frames) >= MAX_DEPTH:
            raise _Stop(position, f"nested more than {MAX_DEPTH} deep")
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        container: dict[str, Any] | list[Any] = {} if is_mapping else []
        route = self._place(container if accepted else REFUSED, position)
        self.frames.append(_Frame(container, route if accepted else None, position, expects_key=is_mapping))

    def _place(self, node: Any, position: Position) -> Route | None:
        """Put ``node`` where the innermost frame expects one; its route, or None where it was refused."""
        if not self.frames:
            self.document.data = node
            self.document.marks[()] = Mark(position, position)
            return ()
        frame = self.frames[-1]
        if frame.expects_key:
            frame.expects_key = False
            frame.key = self._key(frame, node, position)
            frame.key_position = position
            return None
        if isinstance(frame.container, list):
            step: str | int = len(frame.container)
            frame.container.append(node)
            key_position = position
        else:
            frame.expects_key = True
            if frame.key is None:
                return None
            step = frame.key
            frame.container[frame.key] = node
            key_position = frame.key_position
        if frame.route is None:
            return None
        route = (*frame.route, step)
        self.document.marks[route] = Mark(key_position, position)
        return route

    def _key(self, frame: _Frame, node: Any, position: Position) -> str | None:
        if node is REFUSED:
            return None
        if not isinstance(node, str):
            what = "a list" if isinstance(node, list) else describe(node)
            self._refuse(position, f"{what} as a key; a key is a word")
            return None
        if node in frame.key_lines:
            first = frame.key_lines[node]
            self._refuse(position, f"key {describe(node)} again; the first is in line {first}")
            return None
        frame.key_lines[node] = position.line
        return node
