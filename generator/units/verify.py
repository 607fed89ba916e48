"""``tilewright verify --unit``: full proofs of one unit or of all, side by side, each run once for one content."""

import difflib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from tilewright.errors import ToolError, UserError
from tilewright.files import write_file
from tilewright.scalars import resolve
from tilewright.spec import ContradictionError, label
from tilewright.units import UNITS
from tilewright.units.base import Parameters, Unit
from tilewright.units.content import proof_key
from tilewright.units.project import variant_name
from tilewright.units.proof import Proof, prove

ALL = "all"


def chosen(name: str, overrides: Sequence[str] = ()) -> list[tuple[Unit[Any], Parameters]]:
    """The units and parameters that ``--unit NAME --set ...`` means; ``UserError`` where it means none.

    Without overrides: the catalogue's configuration and every variant of it.
    """
    if name != ALL and name not in UNITS:
        near = difflib.get_close_matches(name, UNITS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"units are {', '.join(UNITS)}"
        raise UserError(f"--unit {name}: no such unit; {hint}")
    if overrides:
        if name == ALL:
            raise UserError("--set needs one unit, not all of them")
        return [(UNITS[name], parameters(UNITS[name], overrides))]
    units = UNITS.values() if name == ALL else [UNITS[name]]
    return [(unit, p) for unit in units for p in (unit.parameters_type(), *unit.variants)]


def parameters(unit: Unit[Any], overrides: Iterable[str]) -> Parameters:
    """The defaults with ``field=value`` laid over them; ``UserError`` with every mistake."""
    values: dict[str, Any] = {}
    for text in overrides:
        field, equals, written = text.partition("=")
        if not equals or not field.strip().isidentifier():
            raise UserError(f"--set {text}: an override is written field=value")
        try:
            values[field.strip()] = resolve(written.strip())
        except ValueError as error:
            raise UserError(f"--set {text}: {error}") from None
    try:
        return unit.parameters_type(**values)
    except ValidationError as error:
        raise UserError(*_messages(unit, error)) from None


def _messages(unit: Unit[Any], error: ValidationError) -> list[str]:
    messages = []
    for found in error.errors():
        cause = found.get("ctx", {}).get("error")
        field = ".".join(str(part) for part in found["loc"])
        if isinstance(cause, ContradictionError):
            messages += [f"{unit.name}: {label(problem.route)}: {problem.text}" for problem in cause.problems]
        elif found["type"] == "extra_forbidden":
            near = difflib.get_close_matches(field, unit.parameters_type.model_fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(unit.parameters_type.model_fields)}"
            messages.append(f"{unit.name}: unknown parameter {field!r}; {hint}")
        else:
            messages.append(f"{unit.name}: {field}: {found['input']!r}: {found['msg'][0].lower()}{found['msg'][1:]}")
    return messages


def prove_all(
    work: Sequence[tuple[Unit[Any], Parameters]], build: Path, *, seed: int = 1, jobs: int | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Proof]:
    """Full proofs, in the order of ``work``; ``jobs`` processes (default: one per processor) work side by side."""
    with ProcessPoolExecutor(min(jobs or os.cpu_count() or 1, len(work))) as pool:
        running = [pool.submit(prove_once, unit, p, build, seed) for unit, p in work]
        for count, done in enumerate(as_completed(running), start=1):
            proof = done.result()
            progress(f"{count} of {len(work)}, {proof.variant}: {'passed' if proof.passed else 'FAILED'}")
    return [done.result() for done in running]


def prove_once(unit: Unit[Any], p: Parameters, build: Path, seed: int) -> Proof:
    """The full proof, read back when one of the same content passed before. One that failed runs again."""
    kept = build / ".cache" / "proof" / f"{proof_key(unit, p, seed)}.json"
    if kept.exists():
        return Proof.from_payload(json.loads(kept.read_text(encoding="utf-8")))
    try:
        proof = prove(unit, p, build, full=True, protocol=True, seed=seed)
    except ToolError as error:
        raise ToolError(f"{variant_name(unit, p)}: {error}") from None
    if proof.passed:
        write_file(kept, json.dumps(proof.payload(), indent=1) + "\n")
    return proof


def payload(proofs: Sequence[Proof]) -> dict[str, Any]:
    """The object that ``--json`` prints: as of a design, and each proof by itself under ``proofs``."""
    parts = [proof.payload() for proof in proofs]
    return {
        "passed": bool(proofs) and all(proof.passed for proof in proofs),
        "checks": [{**check, "name": f"{part['variant']}: {check['name']}"} for part in parts for check in part["checks"]],
        "cycles": [cycles for part in parts for cycles in part["cycles"]],
        "first_divergence": next((proof.first_divergence for proof in proofs if not proof.passed), None),
        "proofs": parts}
