"""Jobs at the port of the fused engine: checked, numbered, their scales kept while they are on their way."""

from amaranth.hdl import Array, Module, Shape, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.fused2d.key_tiles import JOBS_MAX
from tilewright.rtl.attention.normalize_rows import SCALE_BITS
from tilewright.rtl.attention.tile_walker import Mask
from tilewright.rtl.attention.weights import MULTIPLIER_BITS
from tilewright.rtl.shift_round import COARSE_BITS, FINE_BITS, PRESCALE, prescale_multiplier


def job_layout(limits: tuple[int, int]) -> data.StructLayout:
    """A job as it comes: up to ``limits`` queries and keys."""
    queries, keys = limits
    return data.StructLayout({"queries": range(queries + 1), "keys": range(keys + 1), "score_multiplier": MULTIPLIER_BITS,
                              "score_shift": 6, "out_scale": SCALE_BITS})


class JobPort(wiring.Component):
    """Takes a job while ``idle`` and fewer than JOBS_MAX are ``running``; an illegal one is taken and dropped.

    A job is looked at for two cycles at least. ``accepted`` hands on ``queries``, ``keys`` and ``rows``, queries times
    ``group``; ``number`` is that of the newest. ``done`` ends the oldest. ``multiplier``, prescaled, and ``coarse``, its shift
    by eights, are those of job ``scaled``, ``out_scale`` is that of job ``divided``.
    """

    def __init__(self, *, group: int, mask: Mask, limits: tuple[int, int]) -> None:
        self.group = group
        self.mask = mask
        self.limits = limits
        queries, keys = limits
        number = range(JOBS_MAX)
        super().__init__({
            "job": In(stream.Signature(job_layout(limits))), "idle": In(1), "done": In(1), "accepted": Out(1),
            "refused": Out(1), "queries": Out(range(queries + 1)), "keys": Out(range(keys + 1)),
            "rows": Out(range(queries * group + 1)), "number": Out(number), "running": Out(range(JOBS_MAX + 1)),
            "scaled": In(number),
            "multiplier": Out(MULTIPLIER_BITS + PRESCALE), "coarse": Out(COARSE_BITS), "divided": In(number),
            "out_scale": Out(SCALE_BITS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = self.job.payload
        checked, legal = Signal(), Signal()
        queries_max, keys_max = self.limits
        shape = (job.queries != 0) & (job.keys != 0) & (job.queries <= queries_max) & (job.keys <= keys_max)
        if self.mask.needs_positions:
            shape &= job.queries <= job.keys
        m.d.comb += [
            self.accepted.eq(checked & legal & self.idle & (self.running != JOBS_MAX)), self.refused.eq(checked & ~legal),
            self.job.ready.eq(self.accepted | self.refused), self.queries.eq(job.queries), self.keys.eq(job.keys)]
        m.d.sync += [checked.eq(self.job.valid & ~self.job.ready), legal.eq(shape), self.rows.eq(job.queries * self.group),
                     self.running.eq(self.running + self.accepted - self.done)]
        with m.If(self.accepted):
            m.d.sync += self.number.eq(self.number + 1)
        following = Signal.like(self.number)
        m.d.comb += following.eq(self.number + 1)

        def kept(value: object, name: str, shape: Shape) -> Array:
            """``value`` of each job on its way."""
            of_jobs = Array(Signal(shape, name=f"{name}_{k}", reset_less=True) for k in range(JOBS_MAX))
            with m.If(self.accepted):
                m.d.sync += of_jobs[following].eq(value)
            return of_jobs

        multiplier = kept(prescale_multiplier(job.score_multiplier, job.score_shift), "multiplier", self.multiplier.shape())
        coarse = kept(job.score_shift[FINE_BITS:], "coarse", self.coarse.shape())
        out_scale = kept(job.out_scale, "out_scale", self.out_scale.shape())
        m.d.comb += [self.multiplier.eq(multiplier[self.scaled]), self.coarse.eq(coarse[self.scaled]),
                     self.out_scale.eq(out_scale[self.divided])]
        return m
