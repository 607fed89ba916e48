"""Claims about the narrowed YAML loader: what it accepts, where it says things are, what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from tilewright import loader
from tilewright.errors import UserError
from tilewright.loader import MAX_BYTES, MAX_DEPTH, MAX_NODES, Mark, Position, load_yaml, located, scan


def data_of(text: str) -> Any:
    document = scan(text.encode())
    assert document.mistakes == []
    return document.data


def messages_of(content: str | bytes) -> list[str]:
    return located("f.yaml", scan(content if isinstance(content, bytes) else content.encode()).mistakes)


@pytest.fixture(params=["default parser", "pure Python parser"])
def either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pure Python parser":
        monkeypatch.setattr(loader, "_Parser", loader._PurePythonParser)


@pytest.mark.parametrize(("text", "value"), [
    ("0", 0), ("8", 8), ("-8", -8), ("+8", 8), ("-0", 0), ("999999999999999999", 10**18 - 1),
    ("1.5", 1.5), ("1.", 1.0), (".5", 0.5), ("-1e3", -1000.0), ("0.1", 0.1), ("1e-999", 0.0),
    ("true", True), ("True", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
    ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("N", "N"),
    ("tRUE", "tRUE"), ("int8", "int8"), ("8 bits", "8 bits"), ("1e", "1e"),
    ("0b", "0b"), ("-x", "-x"), (".", "."),
    ("'8'", "8"), ('"true"', "true"), ("'no'", "no"), ("'2001-01-01'", "2001-01-01"), ("'010'", "010"),
    ("|\n  010\n", "010\n"), (">\n  8\n", "8\n"),
])  # fmt: skip
def test_scalars_mean_what_all_readers_agree_on(either_parser: None, text: str, value: Any) -> None:
    found = data_of(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", [
    "010", "-010", "00", "08", "0o10", "0x1F", "0b11", "1_000", "1_0.5", "1:30", "190:20:30", "1:30.5",
    "2001-01-01", "2001-1-1", "2001-12-14t21:59:43.10-05:00", ".inf", "-.Inf", ".nan", ".NaN", "007.5",
])  # fmt: skip
def test_scalars_that_readers_disagree_about_are_refused(either_parser: None, text: str) -> None:
    assert messages_of(f"a: {text}") == [
        f"f.yaml:1:4: YAML readers disagree about {text}; write a plain decimal number, or quote a text"]


def test_nested_data_arrives_whole(either_parser: None) -> None:
    text = "a: {b: [1, {c: x}], d: }\ne:\n  - - 1\n    - 2\n  -\n  - f: ''\n"
    assert data_of(text) == {"a": {"b": [1, {"c": "x"}], "d": None}, "e": [[1, 2], None, {"f": ""}]}


def test_marks_tell_line_and_column_of_key_and_value(either_parser: None) -> None:
    document = scan("# first\na: {b: [1, é, 3]}\nc:\n  - d:   'x'\n".encode())
    assert document.marks == {
        (): Mark(Position(2, 1), Position(2, 1)),
        ("a",): Mark(Position(2, 1), Position(2, 4)),
        ("a", "b"): Mark(Position(2, 5), Position(2, 8)),
        ("a", "b", 0): Mark(Position(2, 9), Position(2, 9)),
        ("a", "b", 1): Mark(Position(2, 12), Position(2, 12)),
        ("a", "b", 2): Mark(Position(2, 15), Position(2, 15)),  # columns count characters, not bytes
        ("c",): Mark(Position(3, 1), Position(4, 3)),
        ("c", 0): Mark(Position(4, 5), Position(4, 5)),
        ("c", 0, "d"): Mark(Position(4, 5), Position(4, 10)),
    }


REFUSED = [
    ("a: 1\nb: 2\na: 3", ["3:1: key 'a' again; the first is in line 1"]),
    ("x: {a: 1, a: 2, a: 3}", ["1:11: key 'a' again; the first is in line 1",
                               "1:17: key 'a' again; the first is in line 1"]),
    ("'a': 1\n\"a\": 2", ["2:1: key 'a' again; the first is in line 1"]),
    ("a: &x 1", ["1:4: anchor '&x'; write the value out where it is needed"]),
    ("a: *x", ["1:4: alias '*x'; write the value out"]),
    ("a: &x {b: *x}", ["1:4: anchor '&x'; write the value out where it is needed",
                       "1:11: alias '*x'; write the value out"]),
    ("&a a: 1", ["1:1: anchor '&a'; write the value out where it is needed"]),
    ("<<: {a: 1}", ["1:1: merge key '<<'; write the fields out"]),
    ("a: !!str 1", ["1:4: tag 'tag:yaml.org,2002:str'; types follow from the values, remove it"]),
    ("a: ! 1", ["1:4: tag '!'; types follow from the values, remove it"]),
    ("!!map {a: 1}", ["1:1: tag 'tag:yaml.org,2002:map'; types follow from the values, remove it"]),
    ("a: !!python/object/apply:os.system [x]",
     ["1:4: tag 'tag:yaml.org,2002:python/object/apply:os.system'; types follow from the values, remove it"]),
    ("%YAML 1.1\n---\na: 1", ["1:1: a % directive; remove it"]),
    ("%TAG ! tag:x,2000:\n---\na: 1", ["1:1: a % directive; remove it"]),
    ("a: 1\n---\nb: 2", ["2:1: a second document; a file holds one"]),
    ("8: 1", ["1:1: 8 as a key; a key is a word"]),
    ("true: 1", ["1:1: true as a key; a key is a word"]),
    ("?\n: 1", ["1:2: nothing as a key; a key is a word"]),
    ("? [a, b]\n: 1", ["1:3: a list as a key; a key is a word"]),
    ("? {a: b}\n: 1", ["1:3: a mapping as a key; a key is a word"]),
    ("010: 1", ["1:1: YAML readers disagree about 010; write a plain decimal number, or quote a text"]),
    ("a: 1234567890123456789", ["1:4: a number of 19 digits; at most 18"]),
    ("a: 1e999", ["1:4: 1e999 is too large a number"]),
    ('a: "x\\0y"', ["1:4: the text has an escaped character U+0000; remove it"]),
    ('a: "\\u2028"', ["1:4: the text has an escaped character U+2028; remove it"]),
    ("\ta: 1", ["1:1: a tab; indent with spaces"]),
    ("a: @x", ["1:4: '@' cannot start a value; quote it"]),
    ("a: `x`", ["1:4: '`' cannot start a value; quote it"]),
    ("a: b: c", ["1:5: a ':' where no key can stand; check the indentation, or quote the text"]),
    ("a: 1\n  b: 2", ["2:4: a ':' where no key can stand; check the indentation, or quote the text"]),
    ("a:\n- {b: 1,\n   c: [2\n", ["3:7: a '[' that is never closed"]),
    ("a: {b: 1", ["1:4: a '{' that is never closed"]),
    ("a: 'b\nc", ["1:4: a quote that is never closed"]),
    ("2001-01-01\tb: 1", [
        "1:1: YAML readers disagree about 2001-01-01\\tb; write a plain decimal number, or quote a text"]),
    (b"a: 1\nb: \xff", ["2:4: byte 0xff is not UTF-8 text"]),
    (b"\xff\xfea\x00", ["1:1: UTF-16 text; save the file as UTF-8"]),
    (b"\xef\xbb\xbfa: 1", ["1:1: a byte order mark; save the file as UTF-8 without one"]),
    (b"a: \xc3\xa9\x00", ["1:5: character U+0000 is not text; remove it"]),
    (b"a: 1\r\nb: \x1b[0m", ["2:4: character U+001B is not text; remove it"]),
    (b"a: \x7f", ["1:4: character U+007F is not text; remove it"]),
    (b"a: \xed\xa0\x80", ["1:4: byte 0xed is not UTF-8 text"]),
    ("a: x\u2028y", ["1:5: character U+2028 is not text; remove it"]),
    ("a: x\ufeff", ["1:5: character U+FEFF is not text; remove it"]),
    ("a: x\x85y", ["1:5: character U+0085 is not text; remove it"]),
    ("[" * 5000, [f"1:{MAX_DEPTH + 1}: nested more than 32 deep"]),
    ("- " * 5000 + "x", [f"1:{2 * MAX_DEPTH + 1}: nested more than 32 deep"]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), REFUSED)
def test_refusals_tell_line_column_and_remedy(content: str | bytes, expected: list[str]) -> None:
    assert messages_of(content) == [f"f.yaml:{message}" for message in expected]


@pytest.mark.parametrize(("content", "expected"), REFUSED)
def test_without_libyaml_the_same_files_are_refused(
    content: str | bytes, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "_Parser", loader._PurePythonParser)
    assert messages_of(content)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    assert messages_of("a: 010\nb: *x\na: !!int 8\n") == [
        "f.yaml:1:4: YAML readers disagree about 010; write a plain decimal number, or quote a text",
        "f.yaml:2:4: alias '*x'; write the value out",
        "f.yaml:3:1: key 'a' again; the first is in line 1",
        "f.yaml:3:4: tag 'tag:yaml.org,2002:int'; types follow from the values, remove it",
    ]


def test_countless_mistakes_are_counted_not_listed() -> None:
    messages = messages_of("[" + ", ".join(["*x"] * 1000) + "]")
    assert len(messages) == loader.MAX_SHOWN + 1
    assert messages[-1].endswith("and 950 more mistakes from here on")


def test_depth_and_nodes_are_accepted_up_to_their_bounds(either_parser: None) -> None:
    assert messages_of("[" * MAX_DEPTH + "]" * MAX_DEPTH) == []
    count = 2000
    assert len(data_of("[" + "1," * count + "]")) == count


def test_nodes_beyond_the_bound_are_refused() -> None:
    assert messages_of("[" + "1," * (MAX_NODES - 1) + "]") == []
    assert messages_of("[" + "1,\n" * MAX_NODES + "]") == [
        f"f.yaml:{MAX_NODES}:1: more than 50000 values and keys, the most a file may have"]


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    doublings = (f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    bomb = "a: &a [x, x]\n" + "".join(doublings)
    assert messages_of(bomb)[0] == "f.yaml:1:4: anchor '&a'; write the value out where it is needed"


def test_file_of_the_largest_size_is_read_and_one_byte_more_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"a: 1\n#".ljust(MAX_BYTES, b"x"))
    assert load_yaml(path).data == {"a": 1}
    path.write_bytes(b"a: 1\n#".ljust(MAX_BYTES + 1, b"x"))
    with pytest.raises(UserError) as caught:
        load_yaml(path)
    assert str(caught.value) == f"{path}: larger than 1 MiB, the most a YAML file may have"
    assert located("f", scan(path.read_bytes()).mistakes) == [
        "f:1:1: larger than 1 MiB, the most a YAML file may have"]


def test_load_yaml_raises_what_scan_finds(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("a: *x\n")
    with pytest.raises(UserError) as caught:
        load_yaml(path)
    assert caught.value.messages == (f"{path}:1:4: alias '*x'; write the value out",)


def test_parser_failures_without_a_place_are_still_located(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML without libyaml lets an OverflowError of chr() out."""
    monkeypatch.setattr(loader, "_Parser", loader._PurePythonParser)
    assert messages_of('a: 1\nb: "\\UFFFFFFFF"') == [
        "f.yaml:2:1: not YAML: something after this place cannot be read"]
