"""The catalogue of units: whole, and measured on the RTL that there is."""

import importlib.util
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from tilewright.devices import load_device
from tilewright.units import UNITS
from tilewright.units.catalogue import contract, markdown
from tilewright.units.error_plot import error_plot
from tilewright.units.synthesis import rtl_digest

ROOT = Path(__file__).parents[2]
RECORD: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "units.json").read_text(encoding="utf-8"))
LEAST_MHZ = 120.0  # of every unit on the ECP5-85F


def _script() -> Any:
    spec = importlib.util.spec_from_file_location("catalogue_script", ROOT / "benchmarks" / "catalogue.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = _script()


def test_the_page_is_what_the_code_and_the_figures_say() -> None:
    aims = {key: load_device(device).aim_mhz for key, device in SCRIPT.DEVICES.items()}
    page = markdown(RECORD["rows"], SCRIPT.variants(), seeds=SCRIPT.seeds_in_words(), aims=aims)
    assert (ROOT / "docs" / "units.md").read_text(encoding="utf-8") == page


@pytest.mark.parametrize("name", SCRIPT.variants())
def test_the_figures_are_of_this_rtl(name: str) -> None:
    if RECORD["tools"]["amaranth"] != version("amaranth"):
        pytest.skip(f"measured with amaranth {RECORD['tools']['amaranth']}, whose text of the same RTL may differ")
    unit, p = SCRIPT.variants()[name]
    for key, device in SCRIPT.DEVICES.items():
        assert rtl_digest(unit, p, load_device(device)) == RECORD["rows"][name][key]["rtl"]


@pytest.mark.parametrize("name", SCRIPT.variants())
def test_a_unit_routes_for_what_the_catalogue_promises(name: str) -> None:
    assert RECORD["rows"][name]["ecp5"]["fmax_median_mhz"] >= LEAST_MHZ


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_every_error_has_its_plot(unit: Any) -> None:
    assert (ROOT / "docs" / "units" / f"{unit.name}.svg").exists() == (unit.error(unit.parameters_type()) is not None)


def test_a_contract_leaves_out_parameters_and_members() -> None:
    class Doubler:
        """``y = 2 * x`` of :class:`tilewright.rtl.Thing`::

            y = x + x

        Latency 1.

        Parameters
        ----------
        width : int
        """

    assert contract(Doubler) == "`y = 2 * x` of `Thing`:\n\n```\ny = x + x\n```\n\nLatency 1."


def test_a_plot_draws_every_column_that_has_a_value() -> None:
    import numpy as np

    picture = error_plot(np.linspace(0, 1, 2000), np.sin(np.linspace(0, 9, 2000)), figure=1.0, quantity="q", abscissa="x")
    assert picture.count("M") >= 600 and "q over x" in picture
