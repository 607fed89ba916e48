"""What pyproject.toml cannot say: the packages are all folders with an ``__init__.py`` below those that it maps."""

import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
MAPPED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-dir"]

setup(packages=sorted(
    ".".join([package, *init.parent.relative_to(ROOT / folder).parts])
    for package, folder in MAPPED.items() for init in (ROOT / folder).rglob("__init__.py")))
