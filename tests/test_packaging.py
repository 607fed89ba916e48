"""The folders of the checkout and the packages that get installed are the same."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = {"generator": "tilewright", "rtl": "tilewright.rtl", "sim": "tilewright.sim",
           "templates": "tilewright.templates", "boards": "tilewright.boards"}


def test_every_folder_with_an_init_is_a_listed_package() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = set()
    for folder, package in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            inner = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join([package, *inner]))
    assert found == listed


def test_no_module_lies_outside_a_package() -> None:
    for folder in FOLDERS:
        for module in (ROOT / folder).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), module
