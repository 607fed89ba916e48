"""Claims about the parts of a report: drawings, works, bars, digits, axes."""

import base64
import struct
import zlib
from typing import Any

import pytest
from report_folder import DESIGN, HOSTILE, Page, job
from tilewright import report_jobs, report_svg, report_view, report_words
from tilewright.design import parse_design
from tilewright.families.gemm.portrait import MOST_DRAWN, portrait


@pytest.mark.parametrize("dataflow", ["output_stationary", "weight_stationary", "input_stationary"])
@pytest.mark.parametrize("rows, cols", [(1, 1), (3, 5), (8, 8), (MOST_DRAWN, 2), (64, 64), (1, 64)])
def test_the_array_is_drawn_for_every_shape_pe_by_pe_or_as_a_texture(dataflow, rows, cols):
    text = DESIGN.format(name="x", rows=rows, cols=cols, dataflow=dataflow)
    drawing = Page(str(portrait(parse_design(text.encode(), source="x").spec).figure))
    elements = [str(attrs.get("class", "")).split() for _, attrs in drawing.elements]
    cells = sum("kept" in classes for classes in elements)
    assert cells == (rows * cols if max(rows, cols) <= MOST_DRAWN else 0)
    assert sum(tag == "pattern" for tag, _ in drawing.elements) == (max(rows, cols) > MOST_DRAWN)
    kept = {"output_stationary": "result", "weight_stationary": "weight", "input_stationary": "act"}[dataflow]
    assert [classes for classes in elements if kept in classes and ("kept" in classes or "pe" in classes)]


@pytest.mark.parametrize(
    "dataflow, padded",
    [
        ("output_stationary", 2 * 2 * 7 * 12),  # m 5 in rows of 3, n 6 in columns of 4, k 7 steps
        ("weight_stationary", 3 * 2 * 5 * 12),  # k 7 in rows of 3, n 6 in columns of 4, m 5 steps
        ("input_stationary", 3 * 2 * 6 * 12),  # k 7 in rows of 3, m 5 in columns of 4, n 6 steps
    ],
)
def test_work_counts_ragged_tiles_as_the_array_walks_them(dataflow, padded):
    text = DESIGN.format(name="x", rows=3, cols=4, dataflow=dataflow)
    view = portrait(parse_design(text.encode(), source="x").spec)
    fresh = view.work({"m": 5, "n": 6, "k": 7})
    assert (fresh.macs, fresh.padded_macs, fresh.bytes_moved) == (210, padded, 35 + 42 + 30)
    assert view.work({"m": 5, "n": 6, "k": 7, "reuse_weights": True}).bytes_moved == 35 + 30


@pytest.mark.parametrize(
    "counters",
    [
        {},
        {"active": 150},
        {"active": 150, "input_stall": 20, "output_stall": 7},
        {"active": 9999},
        {"input_stall": 9999, "output_stall": 9999},
    ],
)
def test_the_parts_of_a_measured_job_add_up_to_its_cycles(counters):
    text = DESIGN.format(name="x", rows=3, cols=4, dataflow="output_stationary")
    view = portrait(parse_design(text.encode(), source="x").spec)
    begin, parts = report_jobs.job_parts(view, job(5, 6, 7, 200, **counters), free=30)
    assert begin == 30 and sum(parts.values()) == pytest.approx(200) and min(parts.values()) >= 0


def test_a_scheduled_job_is_drawn_from_the_end_of_the_one_before_to_its_last_result():
    text = DESIGN.format(name="x", rows=3, cols=4, dataflow="output_stationary")
    view = portrait(parse_design(text.encode(), source="x").spec)
    scheduled = job(5, 6, 7, 60, first_step=103, last_step=132, done=150)
    begin, parts = report_jobs.job_parts(view, scheduled, free=100)
    # 210 MACs on 12 PEs; 4 tiles of 7 steps with their padding; 30 steps from first to last.
    assert begin == 100
    assert parts == {"fill": 3, "useful": 17.5, "ragged": 10.5, "overhead": 2, "drain": 17}


def test_checks_of_one_claim_are_one_row_and_a_failed_one_stands_apart():
    def check(name: str, passed: bool = True) -> dict[str, Any]:
        return {
            "name": name,
            "passed": passed,
            "vectors": 10,
            "seconds": 0.5,
            "message": "" if passed else "why",
        }

    view = report_view.verification(
        {
            "passed": False,
            "checks": [
                check("rtl == golden: corners"),
                check("rtl == golden: random_0"),
                check("rtl == golden: random_1", False),
                check("cocotb: stalls_lose_nothing/pattern=both"),
                check("cocotb: stalls_lose_nothing/pattern=one"),
                check("lint: no unwaived warning"),
            ],
        }
    )
    assert view is not None and (view["held"], view["checks"]) == (5, 6)
    assert [(row["name"], row["cases"], row["passed"], row["vectors"]) for row in view["groups"]] == [
        ("rtl == golden", 2, True, "20"),
        ("rtl == golden: random_1", 1, False, "10"),
        ("cocotb: stalls lose nothing", 2, True, "20"),
        ("lint: no unwaived warning", 1, True, "10"),
    ]
    assert view["groups"][1]["message"] == "why"


@pytest.mark.parametrize(
    "value, shown", [(1, "100.0 %"), (0.99999, "99.9 %"), (0.5, "50.0 %"), (0.99949, "99.9 %")]
)
def test_a_share_below_one_is_never_shown_as_all(value, shown):
    assert report_words.share(value) == shown


def test_a_digit_is_a_png_whose_opacity_is_the_ink():
    pixels = [0, 8, 16, 4]
    uri = report_svg.ink_png(pixels, width=2, levels=16)
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"), validate=True)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    assert struct.unpack_from(">IIBB", chunks[b"IHDR"]) == (2, 2, 8, 3)
    assert zlib.decompress(chunks[b"IDAT"]) == bytes([0, 0, 8, 0, 16, 4])
    assert [chunks[b"tRNS"][pixel] for pixel in pixels] == [0, 128, 255, 64]


@pytest.mark.parametrize("pixels, width", [([17, 0], 2), ([-1, 0], 2), ([0, 0, 0], 2), ([0], 0)])
def test_pixels_outside_the_picture_are_refused(pixels, width):
    with pytest.raises(ValueError, match="pixels must be rows of"):
        report_svg.ink_png(pixels, width=width, levels=16)


@pytest.mark.parametrize(
    "limit, ticks",
    [
        (4118, [0, 1000, 2000, 3000, 4000]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, [0]),
        (100, [0, 20, 40, 60, 80, 100]),
    ],
)
def test_axes_carry_round_numbers(limit, ticks):
    assert report_svg.nice_ticks(limit) == pytest.approx(ticks)


def test_svg_attributes_are_escaped():
    drawn = str(report_svg.element("text", HOSTILE, class_='a"b', x=1.5))
    assert drawn.startswith('<text class="a&#34;b" x="1.5">&lt;script&gt;')
