"""Handwritten digits on a generated engine: the demo's last step, and the report's most readable one."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tilewright.design import Design
from tilewright.driver import Driver, IntArray, open_driver
from tilewright.errors import UserError
from tilewright.report_view import PIXEL_DIGITS
from tilewright.sim.workloads import digits

Progress = Callable[[str], None]


class _Recorder:
    """Runs layers on a driver and keeps what each job was and took."""

    def __init__(self, driver: Driver, model: Driver) -> None:
        self.driver = driver
        self.model = model
        self.jobs: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.measured = True

    def __call__(self, layer: digits.DenseLayer, batches: Sequence[IntArray]) -> list[IntArray]:
        program = digits.layer_jobs(layer, batches)
        run = self.driver.run(program)
        predicted = self.model.run(program).cycles
        self.seconds += run.seconds
        self.measured &= run.measured
        for batch, job, cycles, model in zip(batches, program, run.cycles, predicted, strict=True):
            self.jobs.append(
                {
                    "label": layer.name,
                    "m": batch.shape[0],
                    "n": layer.weight.shape[1],
                    "k": layer.weight.shape[0],
                    "reuse_weights": bool(job.get("reuse_weights", False)),
                    "cycles": cycles,
                    "model": model,
                }
            )
        return run.outputs


def _on(driver: Driver) -> digits.RunLayer:
    return lambda layer, batches: driver.run(digits.layer_jobs(layer, batches)).outputs


def classify_digits(
    design: Design, *, root: Path, backend: str = "sim", progress: Progress = lambda text: None
) -> dict[str, Any]:
    """Read the 360 held-out digits on ``backend`` and compare every logit with the golden model.

    The object that ``report/digits.json`` keeps: the keys of ``tilewright run``, and ``labels``,
    ``predictions``, ``float_accuracy``, ``equal_golden`` (images whose ten logits are all equal), ``pixels``.
    ``UserError`` when the design cannot take the network: it needs int8 operands and results, requantization
    and at least 32 columns and a depth of 64.
    """
    start = time.monotonic()
    network = digits.load()
    spec: Any = design.spec
    batch = min(digits.BATCH, spec.limits.m)
    golden = open_driver(design, "golden")
    try:
        # Without a requantizer any width will do: the driver refuses the job and says why.
        layers = digits.quantize(network, multiplier_bits=spec.multiplier_bits or 24)
        expected = digits.infer(layers, network.images, _on(golden), batch=batch)
    except ValueError as error:
        raise UserError(f"{design.source}: the digits do not fit this design: {error}") from None
    recorder = _Recorder(open_driver(design, backend, root=root, progress=progress), golden)
    logits = digits.infer(layers, network.images, recorder, batch=batch)
    return {
        "backend": backend,
        "hash": design.content_hash,
        "jobs": len(recorder.jobs),
        "outputs": int(logits.size),
        "cycles": sum(job["cycles"] for job in recorder.jobs),
        "seconds": round(time.monotonic() - start, 3),
        "accuracy": digits.accuracy(logits, network.labels),
        "float_accuracy": digits.accuracy(network.float_logits(), network.labels),
        "equal_golden": int((logits == expected).all(axis=1).sum()),
        "measured": recorder.measured,
        "job_cycles": recorder.jobs,
        "labels": network.labels.tolist(),
        "predictions": np.argmax(logits, axis=1).tolist(),
        "pixels": ["".join(PIXEL_DIGITS[pixel] for pixel in image) for image in network.images],
    }
