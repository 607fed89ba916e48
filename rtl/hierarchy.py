"""Elaborate a component once, instantiate it many times.

An array of 4 096 equal PEs costs one elaboration and 4 096 instances: ``shared(component, name)``
stands in for the component as a submodule, and :func:`to_rtlil` converts each distinct component
to a module of its own. Verilator and Yosys see the same hierarchy.
"""

import gc
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import ClockSignal, Elaboratable, Instance, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

_library: ContextVar["dict[str, wiring.Component] | None"] = ContextVar("library", default=None)


class Shared(Elaboratable):
    """An instance of a component that is elaborated elsewhere, once.

    Has the members of the component as attributes. Instances of one ``name`` in a design must be made
    from components of the same class with the same parameters: the first one defines the module. The
    component must use its clock, because every instance connects ``clk`` and ``rst``, or have a true ``COMBINATIONAL``.
    """

    def __init__(self, make: Callable[[], wiring.Component], name: str) -> None:
        self._name = name
        library = _library.get()
        if library is None:
            self._interface: Any = make()
            self.component = self._interface
        else:
            if name not in library:
                library[name] = make()
            self.component = library[name]
            self._interface = self.component.signature.create(path=(name,))
        for member in self.component.signature.members:
            setattr(self, member, getattr(self._interface, member))

    def elaborate(self, platform: object) -> Any:
        if _library.get() is None:
            return self.component
        clocked = not getattr(self.component, "COMBINATIONAL", False)
        ports: dict[str, Any] = {"i_clk": ClockSignal(), "i_rst": ResetSignal()} if clocked else {}
        for path, member, value in self.component.signature.flatten(self._interface):
            direction = "i" if member.flow == In else "o"
            ports[f"{direction}_{'__'.join(str(part) for part in path)}"] = value
        return Instance(self._name, **ports)


def shared(make: Callable[[], wiring.Component], name: str) -> Shared:
    """What ``make`` makes, as a submodule whose hardware is elaborated once for all instances of ``name``.

    Where no design is being converted (in Amaranth's own simulator), every instance is a component of its own.
    """
    return Shared(make, name)


@contextmanager
def _collect() -> Iterator[dict[str, wiring.Component]]:
    library: dict[str, wiring.Component] = {}
    token = _library.set(library)
    try:
        yield library
    finally:
        _library.reset(token)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """A netlist is millions of objects that all live to its end: looking for garbage among them takes a quarter of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def to_rtlil(top: Elaboratable, *, name: str, ports: Iterable[Signal] | None = None) -> str:
    """RTLIL text of ``top`` and of every component shared below it, a module each.

    ``ports`` defaults to the members of the component's signature. No source locations are emitted,
    so the text depends on the design alone.
    """
    with _without_garbage_collection(), _collect() as library:
        keywords = {} if ports is None else {"ports": list(ports)}
        texts = [rtlil.convert(top, name=name, emit_src=False, **keywords)]
        emitted: set[str] = set()
        while pending := [key for key in library if key not in emitted]:
            for key in pending:
                emitted.add(key)
                texts.append(rtlil.convert(library[key], name=key, emit_src=False))
    texts[1:] = [text.replace("attribute \\top 1\n", "") for text in texts[1:]]
    return _MODULE_NAME.sub(lambda match: match[1] + _module_name(match[2], name), "\n".join(texts))


_MODULE_NAME = re.compile(r"^(module \\|  cell \\)(\S+)", re.MULTILINE)
_PRIMITIVES = frozenset({"CCU2C", "MULT18X18D"})


def _module_name(name: str, top: str) -> str:
    """Prefixed with the design, so that two designs can stand in one project; no dots, as Verilog wants."""
    if name in _PRIMITIVES:
        return name
    plain = name.replace(".", "_").replace("$", "_")
    return plain if plain == top or plain.startswith(f"{top}_") else f"{top}_{plain}"

