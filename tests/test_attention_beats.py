"""Claims about the beats of `family: attention`: their order, the benches that read them, the harness that counts them."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_attention import MASKS, operands, spec
from tilewright.families.attention.harness import harness
from tilewright.families.attention.ports import ports
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.stimulus import Stimulus
from tilewright.families.attention.vectors import Case, Job, pack_keys, pack_rows, unpack_rows, write_case
from tilewright.sim.cosim import attention_ports

SHAPES = [(1, 1), (1, 9), (5, 5), (6, 11), (9, 12)]
STRUCTURES = [(4, 2, 4), (4, 1, 2), (3, 3, 5), (1, 1, 1), (8, 1, 16)]  # heads, kv_heads, tile_q


def structures(name: str) -> list[AttentionSpec]:
    """Each structure in the order of rows, and in that of tiles where a tile has several positions."""
    return [spec(model={"head_dim": 8, "heads": heads, "kv_heads": kv_heads},
                 engine={"tile_q": tile_q, "lanes": 4, "order": order}, mask=MASKS[name])
            for heads, kv_heads, tile_q in STRUCTURES
            for order in ("rows", "tiles")[:1 + (tile_q > heads // kv_heads)]]


def test_rows_of_a_group_stand_side_by_side() -> None:
    of = spec()
    q = np.arange(4 * 3 * 8).reshape(4, 3, 8)
    packed = pack_rows(of, q)
    order = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 0), (3, 0), (2, 1), (3, 1), (2, 2), (3, 2)]
    assert packed.tolist() == [q[head, position, start:start + 4].tolist() for head, position in order for start in (0, 4)]
    np.testing.assert_array_equal(unpack_rows(of, packed, 3), q)
    with pytest.raises(ValueError, match=r"result beats have shape \(23, 4\), not \(a multiple of 12, 4\)"):
        unpack_rows(of, packed[1:], 3)


def test_the_order_of_tiles_is_chunk_by_chunk_for_every_head_of_a_tile() -> None:
    of = spec(engine={"tile_q": 4, "lanes": 4, "order": "tiles"})  # two heads to a kv head: two positions to a tile
    q = np.arange(4 * 3 * 8).reshape(4, 3, 8)
    packed = pack_rows(of, q)
    expected = [q[head, position, start:start + 4].tolist()
                for heads in ((0, 1), (2, 3)) for positions in ((0, 1), (2,))
                for head in heads for start in (0, 4) for position in positions]
    assert packed.tolist() == expected
    np.testing.assert_array_equal(unpack_rows(of, packed, 3), q)


def test_keys_are_sent_once_for_every_tile_in_order() -> None:
    of = spec(mask=MASKS["window"], model={"head_dim": 8, "heads": 2, "kv_heads": 2}, engine={"tile_q": 2, "lanes": 8})
    k = np.arange(2 * 6 * 8).reshape(2, 6, 8)
    met = [*range(1, 5), *range(3, 6)]  # positions 3 and 4, then 5
    assert pack_keys(of, k, 3).tolist() == [k[head, key].tolist() for head in (0, 1) for key in met]


@pytest.mark.parametrize("name", MASKS)
def test_benches_find_every_value_and_count_every_beat(name: str, tmp_path: Path) -> None:
    for number, of in enumerate(structures(name)):
        described = ports(of)
        for queries, keys in SHAPES:
            q, k, v = operands(of, queries, keys)
            job = Job(q=q, k=k, v=v, score_multiplier=5, score_shift=6, out_scale=7, result=q)
            folder = tmp_path / f"{number}_{queries}_{keys}"
            write_case(folder, of, Case("case", (job,), cycles=17))
            loaded = attention_ports.Case.load(folder, described)  # counts the beats of every stream
            assert loaded.cycles == 17 and loaded.jobs == [attention_ports.Job(queries, keys, 5, 6, 7)]
            assert sum(loaded.last("k", described)) == loaded.last("k", described)[-1] == 1
            for beat, (data, keep) in enumerate(loaded.result):
                assert keep == 15
                for lane, value in enumerate(described.result.unpack(data)):
                    assert q[described.index(loaded.jobs[0], beat, lane)] == value


def test_cases_join_and_come_apart(tmp_path: Path) -> None:
    of = spec(mask=MASKS["causal"])
    stimulus = Stimulus(of, np.random.default_rng(1))
    write_case(tmp_path / "a", of, Case("a", (stimulus.job(3, 5), stimulus.job(1, 2))))
    write_case(tmp_path / "b", of, Case("b", (stimulus.job(4, 4),)))
    described = ports(of)
    a, b = attention_ports.Case.load_all(tmp_path, described)
    joined = attention_ports.Case.joined([a, b])
    assert [joined.only(number, described).k for number in range(3)] == [a.only(0, described).k, a.only(1, described).k, b.k]
    assert joined.result == a.result + b.result
    (tmp_path / "b" / "v.txt").write_text("0 0 0 0\n")
    with pytest.raises(ValueError, match=r"v\.txt: 1 beats; the jobs take 24"):
        attention_ports.Case.load_all(tmp_path, described)
    with pytest.raises(ValueError, match="no vectors"):
        attention_ports.Case.load_all(tmp_path / "a", described)


def test_ports_survive_their_file(tmp_path: Path) -> None:
    described = ports(spec(mask=MASKS["lambda"]))
    (tmp_path / "design.json").write_text(described.to_json())
    assert attention_ports.load_ports(tmp_path / "design.json") == described


def test_a_divergence_names_head_position_element_and_row() -> None:
    described = ports(spec())
    job = attention_ports.Job(3, 5, 1, 1, 1)
    pack = described.result.pack
    place = described.divergence(2, job, 9, (pack([1, 2, 3, 4]), 15, 0), (pack([1, 2, -3, 4]), 15, 0), 77)
    assert place.text == ("result[head 0][position 2][element 6] of job 2 (queries=3, keys=5), cycle 77, "
                          "tile 1, value row 0, lane 2: expected 3, got -3")
    assert (place.index, place.lane, place.expected, place.actual) == ((0, 2, 6), 2, 3, -3)
    framed = described.divergence(0, job, 23, (pack([1, 2, 3, 4]), 15, 1), (pack([1, 2, 3, 4]), 15, 0), 78)
    assert framed.lane is None and framed.text == (
        "result of job 0 (queries=3, keys=5), beat 23, cycle 78: expected keep 1111, last 1; "
        "got keep 1111, last 0, data [1, 2, 3, 4]")


def test_the_harness_counts_the_same_beats(tmp_path: Path) -> None:
    program = ["#include <algorithm>", "#include <cstdint>", "#include <cstdio>", "struct Job { int64_t queries, keys; };"]
    calls: list[str] = []
    expected: list[int] = []
    for name in MASKS:
        for number, of in enumerate(structures(name)):
            described = ports(of)
            for stream in harness(described)["inputs"]:
                function = f"{stream['name']}_{name}_{number}"
                program.append(f"int64_t {function}(const Job& job) {{ return {stream['beats']}; }}")
                for queries, keys in SHAPES:
                    calls.append(f'std::printf("%d\\n", (int){function}({{{queries}, {keys}}}));')
                    expected.append(described.count(stream["name"], attention_ports.Job(queries, keys, 0, 0, 0)))
    source = tmp_path / "beats.cpp"
    source.write_text("\n".join([*program, "int main() {", *calls, "}"]))
    subprocess.run(["g++", "-std=c++17", "-Wall", "-Werror", "-o", tmp_path / "beats", source], check=True)
    printed = subprocess.run([tmp_path / "beats"], check=True, capture_output=True, text=True).stdout
    assert [int(line) for line in printed.split()] == expected
