"""Renders the HLS C++ of a design: kernel, self-checking testbench, scripts, headers for plain g++."""

import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

# Beside the kernel of the family; the same for every design.
COMMON_TEMPLATES = {
    "Makefile": "Makefile.j2",
    "hls_config.cfg": "hls_config.cfg.j2",
    "run_hls.tcl": "run_hls.tcl.j2",
    "README.md": "README.md.j2",
}
COMMON_FILES = (
    "vector_text.h", "ap_shim/ap_int.h", "ap_shim/streams/hls_stream.h", "ap_shim/streams/ap_axi_sdata.h")

# Placeholders in the Vitis HLS projects, for the user to replace.
PART = "xc7z020-clg400-1"
CLOCK_NS = 10

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


def render_hls(context: Mapping[str, Any]) -> dict[str, str]:
    """Every file of the ``hls`` folder, path to text; the same context gives the same bytes.

    ``context`` holds what the templates name, ready-made by the family: integers, truths, identifiers, and
    lists and mappings of these; anything else is a ValueError, because it could become code. ``templates``
    maps the family's own files to their templates in ``templates/hls``. A name that a template uses and the
    context lacks is an error of jinja2.
    """
    values = {key: value for key, value in context.items() if key != "templates"}
    for key, value in values.items():
        check_value(key, value)
    templates = {**context["templates"], **COMMON_TEMPLATES}
    for path, template in templates.items():
        if not _FILE_NAME.fullmatch(path) or not _FILE_NAME.fullmatch(template):
            raise ValueError(f"templates: {path!r} from {template!r} is not a file name")
    values["headers"] = sorted(path for path in templates if path.endswith(".h"))
    values |= {"part": PART, "clock_ns": CLOCK_NS}
    environment = cpp_environment(_folder())
    rendered = {
        path: environment.get_template(template).render(values) for path, template in templates.items()}
    rendered |= {path: _folder().joinpath(path).read_text(encoding="utf-8") for path in COMMON_FILES}
    return dict(sorted(rendered.items()))


def check_value(key: str, value: object) -> None:
    """ValueError unless ``value`` is an integer, a truth, an identifier, or lists and mappings of these."""
    if isinstance(value, int):
        return
    if isinstance(value, str):
        if not _IDENTIFIER.fullmatch(value):
            raise ValueError(f"{key}: {value!r} is not an identifier")
    elif isinstance(value, list):
        for index, element in enumerate(value):
            check_value(f"{key}[{index}]", element)
    elif isinstance(value, dict):
        for name, element in value.items():
            check_value(f"{key}.{name}", element)
    else:
        raise ValueError(f"{key}: {value!r} is not an integer, a truth, an identifier, or a list or mapping")


def _folder() -> Traversable:
    return files("tilewright.templates").joinpath("hls")


def cpp_environment(folder: Traversable) -> Environment:
    """Templates of C++ in ``folder``: nothing is escaped, what is named must be there, block tags leave no empty lines."""
    return Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
