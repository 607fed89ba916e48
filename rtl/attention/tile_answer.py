"""The answer whether a tile comes once more: told to the producer of keys and values, or, where they are cached, to nobody."""

from amaranth.hdl import Array, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.score_sequencer import ScoreSequencer
from tilewright.rtl.attention.value_sequencer import ValueSequencer
from tilewright.rtl.attention.weights import KeyWeights

ANSWER = data.StructLayout({"again": 1, "last": 1})


class TileAnswer(wiring.Component):
    """A beat on ``again`` for each tile, the cycle after ``decided``; ``repeat`` and ``last`` are taken with that.

    ``taken`` is high in the cycle in which the beat is, and ``repeats`` is what it says.
    """

    LATENCY = 1

    def __init__(self) -> None:
        super().__init__({
            "decided": In(1), "repeat": In(1), "last": In(1), "again": Out(stream.Signature(ANSWER)), "taken": Out(1),
            "repeats": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.taken.eq(self.again.valid & self.again.ready), self.repeats.eq(self.again.payload.again)]
        with m.If(self.decided):
            m.d.sync += [self.again.valid.eq(1), self.again.payload.again.eq(self.repeat),
                         self.again.payload.last.eq(self.last)]
        with m.Elif(self.again.ready):
            m.d.sync += self.again.valid.eq(0)
        return m


def answer_at_once(m: Module, weights: KeyWeights, sequencer: ScoreSequencer, values: ValueSequencer) -> None:
    """A tile is read once more from the caches: nobody has to know, nor can a frame be too short or too long for it."""
    m.d.comb += [
        sequencer.answered.eq(weights.decided), sequencer.repeat.eq(weights.repeat), values.decided.eq(weights.decided),
        values.repeat.eq(weights.repeat)]


def broken_jobs(m: Module, *, loads: Value, keys: Value, accepted: Value, newest: Value, at_work: Value) -> Array:
    """Of each job on its way, by its parity, whether a frame was wrong so far; ``loads`` tells of one of the ``newest`` job.

    ``keys`` tells of one of the job ``at_work``, ``accepted`` of a new one.
    """
    broken = Array(Signal(name=f"broken_{k}") for k in range(2))
    for k, flag in enumerate(broken):
        wrong = (loads & (newest == k)) | (keys & (at_work == k))
        m.d.sync += flag.eq((flag | wrong) & ~(accepted & (newest != k)))
    return broken


def answer_with_producer(m: Module, again: stream.Interface, weights: KeyWeights, sequencer: ScoreSequencer,
                         values: ValueSequencer, broken: Array) -> None:
    """A tile comes once more on the streams, behind a beat of ``again``.

    None does of a job that is ``broken``, by its parity: its producer may not follow.
    """
    m.submodules.answer = answer = TileAnswer()
    wiring.connect(m, answer.again, wiring.flipped(again))
    repeat = weights.repeat & ~broken[sequencer.key.job]
    m.d.comb += [
        answer.decided.eq(weights.decided), answer.repeat.eq(repeat), answer.last.eq(sequencer.key.job_ends),
        sequencer.answered.eq(answer.taken), sequencer.repeat.eq(answer.repeats), values.decided.eq(weights.decided),
        values.repeat.eq(repeat)]
