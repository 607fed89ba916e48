"""Claim: whatever bytes a design file holds, it is accepted or refused with located messages.

The seed is fixed and printed; TILEWRIGHT_FUZZ_SEED and TILEWRIGHT_FUZZ_FILES replace it and the number
of files.
"""

import os
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from tilewright import loader
from tilewright.design import Design, parse_design
from tilewright.errors import UserError

SEED = int(os.environ.get("TILEWRIGHT_FUZZ_SEED", "20260801"))
FILES = int(os.environ.get("TILEWRIGHT_FUZZ_FILES", "20000"))
FILES_WITHOUT_LIBYAML = FILES // 20  # it is about 20 times slower
MOST_MUTATIONS = 6

EXAMPLES = [path.read_bytes() for path in sorted((Path(__file__).parent.parent / "examples").glob("*.yaml"))]

SMALLEST = b"design: gemm\nfamily: gemm\narray: {rows: 8, cols: 8}\n"
NASTY = [
    b"",
    b"\n",
    b"---\n",
    b"...",
    b"\xef\xbb\xbf" + SMALLEST,
    SMALLEST.decode().encode("utf-16"),
    b"\x00" * 64,
    b"a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
    b"&a [*a]",
    b"{<<: *x, <<: {a: b}}",
    b"? ? ? ?",
    b"[" * 200,
    b"{a: " * 200,
    b"- " * 200,
    b"? " * 100 + b"a",
    b"[[{[[{[[{",
    b"!!python/object:os.system x",
    b"%YAML 1.2\n%TAG ! x\n--- !x\n",
    b"a: |2-\n   x\n",
    b"a: >9\n x",
    b'"\\UFFFFFFFF"',
    b'"\\ud800\\udc00"',
    b'a: "\\x00\\u2028"',
    b"key: 1" * 99,
    b"a: 0x10\nb: 0o10\nc: 1:2:3\nd: 2001-01-01\ne: 1_0\n",
    b"a: .inf",
    b"9" * 400 + b": " + b"9" * 400,
    b"design: \xff\xfe\n",
    b"array: [[[[[[[[]]]]]]]]",
    b"a\tb:\tc\n\t- d",
    b"*",
    b"&",
    b"!",
    b"|",
    b">",
    b"@",
    b"`",
    b"%",
    b"'",
    b'"',
    b"#",
    b"\r",
    b"\x85",
    b"\xe2\x80\xa8",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xc0\x80",
    SMALLEST + b"workload: [" + b"{m: 1, n: 1, k: 1}, " * 40 + b"]",
]
TOKENS = [
    b": ",
    b":",
    b"- ",
    b"-",
    b", ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"&a ",
    b"*a",
    b"!!int ",
    b"! ",
    b"|",
    b">",
    b"'",
    b'"',
    b"#",
    b"%",
    b"@",
    b"`",
    b"? ",
    b"<<: ",
    b"---\n",
    b"...\n",
    b"\n",
    b"\r\n",
    b"\t",
    b"  ",
    b"\x00",
    b"\xff",
    b"\xc3",
    b"\xef\xbb\xbf",
    b"~",
    b"null",
    b"true",
    b"no",
    b"010",
    b"0x1f",
    b"1e9",
    b".nan",
    b"1:2",
    b"2001-01-01",
    b"-1",
    b"65536",
    b"999999999999999999",
    b"9" * 30,
    b"int8",
    b"uint16",
    b"auto",
    b"none",
    b"rows",
    b"wrap",
]

LOCATED = re.compile(r"fuzz\.yaml:[1-9][0-9]*:[1-9][0-9]*: \S[^\n\r]*")


def mutated(generator: random.Random) -> bytes:
    content = bytearray(generator.choice(EXAMPLES if generator.random() < 0.7 else [SMALLEST, *NASTY]))
    for _ in range(generator.randint(1, MOST_MUTATIONS)):
        start = generator.randint(0, len(content))
        length = min(generator.choice((0, 1, 1, 2, 5, 20)), len(content) - start)
        match generator.randrange(6):
            case 0:  # flip a bit
                if start < len(content):
                    content[start] ^= 1 << generator.randrange(8)
            case 1:  # any byte
                content[start : start + length] = generator.randbytes(generator.randint(1, 3))
            case 2:
                content[start : start + length] = generator.choice(TOKENS)
            case 3:  # drop
                del content[start : start + length]
            case 4:  # say it again, elsewhere
                piece = content[start : start + generator.randint(1, 60)]
                where = generator.randint(0, len(content))
                content[where:where] = piece
            case 5:  # cut short
                if generator.random() < 0.2:
                    del content[start:]
    return bytes(content)


def outcome(content: bytes) -> str:
    """`accepted` or `refused`; anything else fails the test."""
    try:
        design = parse_design(content, source="fuzz.yaml")
    except UserError as error:
        assert error.messages, content
        for message in error.messages:
            assert LOCATED.fullmatch(message), (message, content)
            assert message.isprintable(), (message, content)
        return "refused"
    assert isinstance(design, Design)
    return "accepted"


def fuzz(count: int) -> Counter[str]:
    print(f"seed {SEED}, {count} files; repeat with TILEWRIGHT_FUZZ_SEED={SEED}")
    generator = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    for index in range(count):
        content = mutated(generator)
        try:
            outcomes[outcome(content)] += 1
        except Exception as error:
            raise AssertionError(f"seed {SEED}, file {index}: {content!r}") from error
    print(dict(outcomes))
    return outcomes


def test_seeds_are_accepted_or_refused_as_they_are() -> None:
    assert [outcome(content) for content in (*EXAMPLES, SMALLEST)] == ["accepted"] * (len(EXAMPLES) + 1)
    assert Counter(map(outcome, NASTY)) == {"accepted": 1, "refused": len(NASTY) - 1}


def test_every_mutated_file_is_accepted_or_refused_with_a_place() -> None:
    outcomes = fuzz(FILES)
    assert outcomes.total() == FILES
    assert min(outcomes["accepted"], outcomes["refused"]) > FILES // 100  # both ways are well exercised


def test_without_libyaml_every_mutated_file_is_accepted_or_refused_with_a_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loader, "_Parser", loader._PurePythonParser)
    outcomes = fuzz(FILES_WITHOUT_LIBYAML)
    assert min(outcomes["accepted"], outcomes["refused"]) > FILES_WITHOUT_LIBYAML // 100


FIELDS = [
    "array.cols",
    "array",
    "numbers.act",
    "numbers.acc",
    "numbers.acc.width",
    "limits.k",
    "workload",
    "workload.0.m",
    "workload.0.x",
    "design",
    "x",
    "",
    ".",
    "array..rows",
    "array.cols.x.0",
]
VALUES = [*TOKENS, b"1", b"2", b"3", b"uint4", b"{width: 9, overflow: wrap}", b"[{m: 1, n: 1, k: 1}]"]


def test_every_override_is_accepted_or_refused_by_name() -> None:
    print(f"seed {SEED}")
    generator = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    for _ in range(FILES // 10):
        value = b"".join(generator.choices(VALUES, k=generator.choice((0, 1, 1, 1, 2)))).decode("latin-1")
        overrides = [f"{generator.choice(FIELDS)}{generator.choice('===:')}{value}", "array.rows=4"]
        try:
            parse_design(SMALLEST, source="fuzz.yaml", overrides=overrides)
            outcomes["accepted"] += 1
        except UserError as error:
            outcomes["refused"] += 1
            for text in error.messages:
                assert text.startswith(("--set ", "fuzz.yaml:")) and text.isprintable(), (text, overrides)
        except Exception as error:
            raise AssertionError(f"seed {SEED}: {overrides!r}") from error
    assert min(outcomes["accepted"], outcomes["refused"]) > FILES // 2000
