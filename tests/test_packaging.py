"""The folders of the checkout and the packages that get installed are the same."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("generator", "rtl", "sim", "templates", "boards")
PACKAGES = """
import runpy, sys, types
sys.modules["setuptools"] = types.SimpleNamespace(setup=lambda packages: print(*packages))
runpy.run_path("setup.py")
"""


def test_every_folder_of_a_family_is_installed() -> None:
    done = subprocess.run([sys.executable, "-c", PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    packages = done.stdout.split()
    assert {"tilewright", "tilewright.families.gemm", "tilewright.rtl.gemm", "tilewright.sim.golden.units"} <= set(packages)
    assert len(packages) == len(set(packages)) == sum(
        1 for folder in FOLDERS for _ in (ROOT / folder).rglob("__init__.py"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_module_lies_outside_a_package(folder: str) -> None:
    for module in (ROOT / folder).rglob("*.py"):
        assert (module.parent / "__init__.py").exists(), module
