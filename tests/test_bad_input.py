"""Claims about what a user's mistake is answered with: the exact line, for every kind of mistake."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from tilewright.design import load_design, parse_design
from tilewright.errors import UserError

# The smallest design; a case adds lines from line 4 on, or replaces the text.
SMALLEST = "design: gemm\nfamily: gemm\narray: {rows: 8, cols: 8}\n"


def refusals(text: str | bytes, overrides: Sequence[str] = ()) -> list[str]:
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(UserError) as caught:
        parse_design(content, source="my.yaml", overrides=overrides)
    assert caught.value.exit_code == 2
    return list(caught.value.messages)


def test_the_smallest_design_is_accepted() -> None:
    assert parse_design(SMALLEST.encode(), source="my.yaml").name == "gemm"


ARRAY = [
    ("{rows: 0, cols: 8}", "3:15: array.rows: 0 is not an integer from 1 to 64"),
    ("{rows: 65, cols: 8}", "3:15: array.rows: 65 is not an integer from 1 to 64"),
    ("{rows: -1, cols: 8}", "3:15: array.rows: -1 is not an integer from 1 to 64"),
    ("{rows: 8, cols: 999999999999999999}",
     "3:24: array.cols: 999999999999999999 is not an integer from 1 to 64"),
    ("{rows: eight, cols: 8}", "3:15: array.rows: 'eight' is not an integer from 1 to 64"),
    ("{rows: '8', cols: 8}", "3:15: array.rows: '8' is not an integer from 1 to 64"),
    ("{rows: 8.0, cols: 8}", "3:15: array.rows: 8.0 is not an integer from 1 to 64"),
    ("{rows: true, cols: 8}", "3:15: array.rows: true is not an integer from 1 to 64"),
    ("{rows: , cols: 8}", "3:15: array.rows: nothing is not an integer from 1 to 64"),
    ("{rows: [8], cols: 8}", "3:15: array.rows: a list of 1 is not an integer from 1 to 64"),
    ("{rows: {a: 8}, cols: 8}", "3:15: array.rows: a mapping is not an integer from 1 to 64"),
    ("{rows: 010, cols: 8}",
     "3:15: YAML readers disagree about 010; write a plain decimal number, or quote a text"),
    ("{rows: 8}", "3:8: key 'cols' is missing in array; an integer from 1 to 64"),
    ("{rows: 8, columns: 8}", "3:18: unknown key 'columns' in array; did you mean 'cols'?"),
    ("{rows: 8, cols: 8, depth: 4}",
     "3:27: unknown key 'depth' in array; known are rows, cols, dataflow, pe_pipeline"),
    ("{rows: 8, cols: 8, act: int8}", "3:27: unknown key 'act' in array; it belongs in numbers"),
    ("{rows: 8, cols: 8, Rows: 8}",
     "3:27: unknown key 'Rows' in array; known are rows, cols, dataflow, pe_pipeline"),
    ("{rows: 8, cols: 8, rows: 9}", "3:27: key 'rows' again; the first is in line 3"),
    ("{rows: 8, cols: 8, pe_pipeline: 4}", "3:40: array.pe_pipeline: 4 is not an integer from 1 to 3"),
    ("{rows: 8, cols: 8, pe_pipeline: 0}", "3:40: array.pe_pipeline: 0 is not an integer from 1 to 3"),
    ("{rows: 8, cols: 8, dataflow: output_stationry}",
     "3:37: array.dataflow: 'output_stationry' is not one of output_stationary, weight_stationary, "
     "input_stationary; did you mean 'output_stationary'?"),
    ("{rows: 8, cols: 8, dataflow: row_major}",
     "3:37: array.dataflow: 'row_major' is not one of output_stationary, weight_stationary, "
     "input_stationary"),
    ("{rows: 8, cols: 8, dataflow: no}",
     "3:37: array.dataflow: 'no' is not one of output_stationary, weight_stationary, input_stationary"),
    ("8", "3:8: array: 8 is not a mapping of rows, cols, dataflow, pe_pipeline"),
    ("[8, 8]", "3:8: array: a list of 2 is not a mapping of rows, cols, dataflow, pe_pipeline"),
    ("8x8", "3:8: array: '8x8' is not a mapping of rows, cols, dataflow, pe_pipeline"),
]  # fmt: skip

FORMATS = "int2 to int16 or uint2 to uint16"
ACC = "auto, an integer from 4 to 48 or a mapping of width, overflow"
REQUANT = "none or a mapping of mode, multiplier_bits, out"
NUMBERS = [
    ("{act: int1}", f"4:16: numbers.act: 'int1' is not {FORMATS}"),
    ("{act: int17}", f"4:16: numbers.act: 'int17' is not {FORMATS}"),
    ("{act: int08}", f"4:16: numbers.act: 'int08' is not {FORMATS}"),
    ("{act: Int8}", f"4:16: numbers.act: 'Int8' is not {FORMATS}; did you mean 'int8'?"),
    ("{act: 8}", f"4:16: numbers.act: 8 is not {FORMATS}"),
    ("{act: float32}", f"4:16: numbers.act: 'float32' is not {FORMATS}"),
    ('{act: "int8\\n"}', f"4:16: numbers.act: 'int8\\n' is not {FORMATS}"),
    ("{weight: }", f"4:19: numbers.weight: nothing is not {FORMATS}"),
    ("{weight: [int8]}", f"4:19: numbers.weight: a list of 1 is not {FORMATS}"),
    ("{act_zero_point: yes}", "4:27: numbers.act_zero_point: 'yes' is not true or false"),
    ("{act_zero_point: 0}", "4:27: numbers.act_zero_point: 0 is not true or false"),
    ("{acc: exact}", f"4:16: numbers.acc: 'exact' is not {ACC}"),
    ("{acc: aut}", f"4:16: numbers.acc: 'aut' is not {ACC}; did you mean 'auto'?"),
    ("{acc: 1}", f"4:16: numbers.acc: 1 is not {ACC}"),
    ("{acc: 49}", f"4:16: numbers.acc: 49 is not {ACC}"),
    ("{acc: false}", f"4:16: numbers.acc: false is not {ACC}"),
    ("{acc: }", f"4:16: numbers.acc: nothing is not {ACC}"),
    ("{acc: {overflow: wrap}}", "4:16: key 'width' is missing in numbers.acc; an integer from 4 to 48"),
    ("{acc: {width: 16, overflow: trap}}",
     "4:38: numbers.acc.overflow: 'trap' is not one of wrap, saturate, error; did you mean 'wrap'?"),
    ("{acc: {width: 60, overflow: wrap}}", "4:24: numbers.acc.width: 60 is not an integer from 4 to 48"),
    ("{acc: 23}", "4:16: numbers.acc: 23 bits are too few for a sum of 256 products, which needs 24; "
     "widen it, lower limits.k, or write {width: 23, overflow: wrap or saturate}"),
    ("{acc: {width: 23, overflow: error}}",
     "4:16: numbers.acc: 23 bits are too few for a sum of 256 products, which needs 24; "
     "widen it, lower limits.k, or write {width: 23, overflow: wrap or saturate}"),
    ("{requant: ort}", f"4:20: numbers.requant: 'ort' is not {REQUANT}"),
    ("{requant: nope}", f"4:20: numbers.requant: 'nope' is not {REQUANT}; did you mean 'none'?"),
    ("{requant: null}", f"4:20: numbers.requant: nothing is not {REQUANT}"),
    ("{requant: {mode: tflite}}", "4:27: numbers.requant.mode: 'tflite' is not one of rne, ort, half_up"),
    ("{requant: {multiplier_bits: 1}}",
     "4:38: numbers.requant.multiplier_bits: 1 is not an integer from 2 to 24"),
    ("{requant: {multiplier_bits: 25}}",
     "4:38: numbers.requant.multiplier_bits: 25 is not an integer from 2 to 24"),
    ("{requant: {mode: ort, multiplier_bits: 23}}",
     "4:49: numbers.requant.multiplier_bits: 23 with mode ort, which needs 24; write 24, or mode: rne"),
    ("{requant: {out: int32}}", f"4:26: numbers.requant.out: 'int32' is not {FORMATS}"),
    ("{requant: {rounding: rne}}",
     "4:21: unknown key 'rounding' in numbers.requant; known are mode, multiplier_bits, out"),
    ("{activation: gelu}",
     "4:23: numbers.activation: 'gelu' is not one of none, relu, clip; did you mean 'relu'?"),
    ("{activation: Relu}",
     "4:23: numbers.activation: 'Relu' is not one of none, relu, clip; did you mean 'relu'?"),
    ("{activation: relu, requant: none}",
     "4:23: numbers.activation: 'relu' bounds requantized results, and requant is none; "
     "write activation: none, or a requant"),
    ("{requant: none, activation: clip}",
     "4:38: numbers.activation: 'clip' bounds requantized results, and requant is none; "
     "write activation: none, or a requant"),
    ("{bias: int32}",
     "4:11: unknown key 'bias' in numbers; known are act, weight, act_zero_point, weight_zero_point, "
     "acc, requant, activation"),
]  # fmt: skip

REST = [
    ("limits: {m: 0}", "4:13: limits.m: 0 is not an integer from 1 to 65536"),
    ("limits: {k: 65537}", "4:13: limits.k: 65537 is not an integer from 1 to 65536"),
    ("limits: {max_k: 64}", "4:10: unknown key 'max_k' in limits; known are m, n, k"),
    ("limits: 64", "4:9: limits: 64 is not a mapping of m, n, k"),
    ("limits: {n: 65536, k: 65536}\nworkload: [{m: 1, n: 1, k: 1}]",
     "4:9: limits: buffers of 65552.9 Mbit; at most 64: lower limits.n to 48 or limits.k to 55"),
    ("limits: {m: 65536, n: 2048}",
     "4:9: limits: one job at the limits, the workload unless one is written, has 151519232 elements in "
     "A, B and C; at most 67108864: write one"),
    ("limits: {m: 65536, n: 2048}\nworkload: [{m: 65536, n: 2048, k: 1}]",
     "5:12: workload[0]: 134285312 elements in A, B and C; at most 67108864: split the job"),
    ("top: axi4", "4:6: top: 'axi4' is not one of stream, axi; did you mean 'axi'?"),
    ("top: [stream]", "4:6: top: a list of 1 is not one of stream, axi"),
    ("workload: []", "4:11: workload: a list of 0 is not a list of 1 to 4096 mappings"),
    ("workload:", "4:10: workload: nothing is not a list of 1 to 4096 mappings"),
    ("workload: {m: 4, n: 4, k: 4}", "4:11: workload: a mapping is not a list of 1 to 4096 mappings"),
    ("workload: [4]", "4:12: workload[0]: 4 is not a mapping of m, n, k, reuse_weights"),
    ("workload: [" + "{m: 1, n: 1, k: 1}, " * 4097 + "]",
     "4:11: workload: a list of 4097 is not a list of 1 to 4096 mappings"),
    ("workload: [{m: 4, n: 4}]", "4:12: key 'k' is missing in workload[0]; an integer from 1 to 65536"),
    ("workload: [{m: 4, n: 4, k: 4, reuse_weight: true}]",
     "4:31: unknown key 'reuse_weight' in workload[0]; did you mean 'reuse_weights'?"),
    ("workload: [{m: 4, n: 4, k: 257}]", "4:28: workload[0].k: 257 is above limits.k, which is 256"),
    ("workload: [{m: 4, n: 4, k: 4, reuse_weights: true}]",
     "4:46: workload[0].reuse_weights: true in the first job; no weights are resident yet"),
    ("workload:\n- {m: 4, n: 4, k: 4}\n- {m: 4, n: 5, k: 4, reuse_weights: true}",
     "6:37: workload[1].reuse_weights: true with n 5 and k 4 after a job with n 4 and k 4; "
     "both must be the same"),
    ("workload:\n- {m: 4, n: 4, k: 4}\n- {m: 4, n: 4, k: 5, reuse_weights: true}",
     "6:37: workload[1].reuse_weights: true with n 4 and k 5 after a job with n 4 and k 4; "
     "both must be the same"),
    ("rows: 8", "4:1: unknown key 'rows'; it belongs in array"),
    ("worklaod: []", "4:1: unknown key 'worklaod'; did you mean 'workload'?"),
    ("clock: 100",
     "4:1: unknown key 'clock'; known are design, family, array, numbers, limits, top, workload"),
    ("family: gemm", "4:1: key 'family' again; the first is in line 2"),
    ("numbers: {act: int16, weight: int16, act_zero_point: true, weight_zero_point: true}\n"
     "limits: {m: 64, n: 64, k: 65536}\narray2: 1",
     "6:1: unknown key 'array2'; known are design, family, array, numbers, limits, top, workload"),
    ("numbers: {act: int16, weight: int16, act_zero_point: true, weight_zero_point: true}\n"
     "limits: {m: 8, n: 8, k: 65536}",
     "4:10: numbers.acc: auto needs 49 bits for a sum of 65536 products; at most 48: lower limits.k, "
     "narrow act or weight, or write {width: ..., overflow: wrap or saturate}"),
]  # fmt: skip

NAME = "a lowercase letter, then lowercase letters, digits and single underscores, 48 at most in all"
NAMES = [
    ("Gemm", f"'Gemm' is not a name: {NAME}"),
    ("gemm-8", f"'gemm-8' is not a name: {NAME}"),
    ("8gemm", f"'8gemm' is not a name: {NAME}"),
    ("_gemm", f"'_gemm' is not a name: {NAME}"),
    ("gemm__8", f"'gemm__8' is not a name: {NAME}"),
    ("../gemm", f"'../gemm' is not a name: {NAME}"),
    ("/etc/gemm", f"'/etc/gemm' is not a name: {NAME}"),
    ("a/b", f"'a/b' is not a name: {NAME}"),
    ("..", f"'..' is not a name: {NAME}"),
    ("''", f"'' is not a name: {NAME}"),
    ('"gemm\\n"', f"'gemm\\n' is not a name: {NAME}"),
    ("gémm", f"'gémm' is not a name: {NAME}"),
    ("x" * 49, f"'{'x' * 49}' is not a name: {NAME}"),
    ("x" * 99, f"'{'x' * 56}... is not a name: {NAME}"),
    ("module", "'module' is a word of Verilog; choose another name"),
    ("logic", "'logic' is a word of Verilog; choose another name"),
    ("template", "'template' is a word of C++; choose another name"),
    ("main", "'main' is a word of C++; choose another name"),
    ("lambda", "'lambda' is a word of Python; choose another name"),
    ("while", "'while' is a word of Verilog and of C++ and of Python; choose another name"),
    ("8", "8 is not a name: a lowercase letter, then lowercase letters, digits and single underscores, "
     "48 at most in all"),
]  # fmt: skip

WHOLE = [
    ("", "1:1: an empty file is no design; a design is a mapping of design, family and more"),
    ("# nothing\n", "1:1: an empty file is no design; a design is a mapping of design, family and more"),
    ("gemm", "1:1: 'gemm' is no design; a design is a mapping of design, family and more"),
    ("[gemm]", "1:1: a list of 1 is no design; a design is a mapping of design, family and more"),
    ("design: x", "1:1: key 'family' is missing; gemm or attention"),
    ("family: gem", "1:9: family: 'gem' is not one of gemm, attention; did you mean 'gemm'?"),
    ("family: conv2d", "1:9: family: 'conv2d' is not one of gemm, attention"),
    ("family: [gemm]", "1:9: family: a list of 1 is not one of gemm, attention"),
    ("family: &f gemm", "1:9: anchor '&f'; write the value out where it is needed"),
    ("family: gemm\narray: {rows: 8, cols: 8}", f"1:1: key 'design' is missing; a name: {NAME}"),
    ("family: gemm\ndesign: x",
     "1:1: key 'array' is missing; a mapping of rows, cols, dataflow, pe_pipeline"),
    (SMALLEST + "---\n" + SMALLEST, "4:1: a second document; a file holds one"),
    (SMALLEST + "numbers: *n", "4:10: alias '*n'; write the value out"),
    (SMALLEST + "numbers: !!python/name:os.system",
     "4:10: tag 'tag:yaml.org,2002:python/name:os.system'; types follow from the values, remove it"),
    (SMALLEST + "<<: {top: axi}", "4:1: merge key '<<'; write the fields out"),
    ("top: axi\n" + "\t" + SMALLEST, "2:1: a tab; indent with spaces"),
    (SMALLEST + "'<top': axi", "4:1: unknown key '<top'; did you mean 'top'?"),
    (SMALLEST + "numbers: {<act: int8}", "4:11: unknown key '<act' in numbers; did you mean 'act'?"),
    (SMALLEST + "\ttop: axi", "4:1: a tab; indent with spaces"),
]  # fmt: skip

CASES = [
    *((SMALLEST.replace("{rows: 8, cols: 8}", text), message) for text, message in ARRAY),
    *((f"{SMALLEST}numbers: {text}\n", message) for text, message in NUMBERS),
    *((f"{SMALLEST}{text}\n", message) for text, message in REST),
    *((SMALLEST.replace("gemm", text, 1), f"1:9: design: {message}") for text, message in NAMES),
    *WHOLE,
]


@pytest.mark.parametrize(("text", "message"), CASES)
def test_mistake_in_the_file_is_one_exact_line(text: str, message: str) -> None:
    assert refusals(text) == [f"my.yaml:{message}"]


OVERRIDES = [
    ("array.rows=x", "'x' is not an integer from 1 to 64"),
    ("array.rows=0", "0 is not an integer from 1 to 64"),
    ("array.rows=", "nothing is not an integer from 1 to 64"),
    ("array.rows=010", "YAML readers disagree about 010; write a plain decimal number, or quote a text"),
    ("array.rows=[8", "a '[' that is never closed"),
    ("array.rows=*x", "alias '*x'; write the value out"),
    ("array.rows=a: b: c", "a ':' where no key can stand; check the indentation, or quote the text"),
    ("array.rows", "an override is written field.field=value"),
    ("=8", "an override is written field.field=value"),
    ("array..rows=8", "an override is written field.field=value"),
    ("array rows=8", "an override is written field.field=value"),
    ("array.row=8", "unknown key 'row' in array; known are rows, cols, dataflow, pe_pipeline"),
    ("array.pe_pipelin=2", "unknown key 'pe_pipelin' in array; did you mean 'pe_pipeline'?"),
    ("array={rows: 8}", "key 'cols' is missing in array; an integer from 1 to 64"),
    ("array.rows.deep=8", "array.rows: a mapping is not an integer from 1 to 64"),
    ("rows=8", "unknown key 'rows'; it belongs in array"),
    ("numbers.acc.overflow=wrap", "key 'width' is missing in numbers.acc; an integer from 4 to 48"),
    ("numbers.acc=20", "20 bits are too few for a sum of 256 products, which needs 24; widen it, "
     "lower limits.k, or write {width: 20, overflow: wrap or saturate}"),
    ("workload=[{m: 4, n: 4}]", "key 'k' is missing in workload[0]; an integer from 1 to 65536"),
    ("design=../x", f"'../x' is not a name: {NAME}"),
    ("family=conv2d", "'conv2d' is not one of gemm, attention"),
    ("top=axi\n", None),
    ("workload=[{m: 4, n: 4, k: 4}]", None),
    ("array={rows: 3, cols: 2}", None),
]  # fmt: skip


@pytest.mark.parametrize(("override", "message"), OVERRIDES)
def test_mistake_in_an_override_names_the_override(override: str, message: str | None) -> None:
    if message is None:
        parse_design(SMALLEST.encode(), source="my.yaml", overrides=[override])
    else:
        assert refusals(SMALLEST, [override]) == [f"--set {override}: {message}"]


def test_override_of_a_list_entry_must_hit_one() -> None:
    text = f"{SMALLEST}workload: [{{m: 4, n: 4, k: 4}}]\n"
    assert refusals(text, ["workload.1.m=8"]) == [
        "--set workload.1.m=8: workload has no entry '1'; it has 1, counted from 0"]
    assert refusals(text, ["workload.x.m=8"]) == [
        "--set workload.x.m=8: workload has no entry 'x'; it has 1, counted from 0"]
    assert refusals(text, ["workload.0.m=999"]) == [
        "--set workload.0.m=999: 999 is above limits.m, which is 128"]


def test_override_that_would_break_the_terminal_is_shown_escaped() -> None:
    assert refusals(SMALLEST, ["array.rows=\x1b[2J"]) == [
        "--set array.rows=\\x1b[2J: character U+001B is not text; remove it"]
    assert refusals(SMALLEST, ["array.rows=\udcff"]) == [
        "--set array.rows=\\udcff: byte 0xed is not UTF-8 text"]


def test_mistakes_of_file_and_overrides_are_all_told_at_once() -> None:
    text = (
        "design: Gemm\nfamily: gemm\narray: {rows: 010, colz: 8}\n"
        "numbers: {act: int99, acc: *x}\nlimits: {m: 0}\n")
    assert refusals(text, ["top=axy", "limits.k=0"]) == [
        f"my.yaml:1:9: design: 'Gemm' is not a name: {NAME}",
        "my.yaml:3:15: YAML readers disagree about 010; write a plain decimal number, or quote a text",
        "my.yaml:3:20: unknown key 'colz' in array; did you mean 'cols'?",
        f"my.yaml:4:16: numbers.act: 'int99' is not {FORMATS}",
        "my.yaml:4:28: alias '*x'; write the value out",
        "my.yaml:5:13: limits.m: 0 is not an integer from 1 to 65536",
        "--set top=axy: 'axy' is not one of stream, axi; did you mean 'axi'?",
        "--set limits.k=0: 0 is not an integer from 1 to 65536",
    ]


def test_contradictions_are_all_told_at_once() -> None:
    text = SMALLEST + (
        "numbers: {acc: 12, requant: none, activation: relu}\n"
        "workload: [{m: 999, n: 1, k: 1, reuse_weights: true}]\n")
    assert [message.split(":")[1:3] for message in refusals(text)] == [
        ["4", "16"], ["4", "47"], ["5", "16"], ["5", "48"]]


# -- files ---------------------------------------------------------------------------------------------


def file_refusal(path: str | Path) -> str:
    with pytest.raises(UserError) as caught:
        load_design(path)
    return str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    assert file_refusal(tmp_path / "my.yaml") == f"{tmp_path}/my.yaml: no such file"


def test_directory(tmp_path: Path) -> None:
    assert file_refusal(tmp_path) == f"{tmp_path}: a directory; a YAML file is expected"


def test_file_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert file_refusal(tmp_path / "file" / "my.yaml") == (
        f"{tmp_path}/file/my.yaml: cannot be read: not a directory")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(SMALLEST)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything
        def refuse(self: Path, mode: str) -> None:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "open", refuse)
    assert file_refusal(path) == f"{path}: cannot be read: permission denied"


def test_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(SMALLEST + "#" * (1 << 20))
    assert file_refusal(path) == f"{path}: larger than 1 MiB, the most a YAML file may have"


def test_endless_file() -> None:
    assert file_refusal("/dev/zero") == "/dev/zero: larger than 1 MiB, the most a YAML file may have"


def test_binary_file(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(b"\x7fELF\x02\x01\x01\x00")
    assert file_refusal(path) == f"{path}:1:1: character U+007F is not text; remove it"


def test_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(b"\x1f\x8b\x08\x00")
    assert file_refusal(path) == f"{path}:1:2: byte 0x8b is not UTF-8 text"


def test_name_with_a_null_byte() -> None:
    assert file_refusal("my\0.yaml") == "my\\x00.yaml: cannot be read: embedded null byte"


def test_name_that_would_break_the_line(tmp_path: Path) -> None:
    assert file_refusal("my\nyaml") == "my\\nyaml: no such file"


def test_name_that_is_too_long() -> None:
    assert file_refusal("x" * 300) == f"{'x' * 300}: cannot be read: file name too long"


def test_there_are_at_least_sixty_cases() -> None:
    assert len({text for text, _ in CASES}) == len(CASES)
    assert len(CASES) + len(OVERRIDES) >= 60
