"""When the results of a unit with passes over frames are taken while nothing stalls: its handshakes, cycle by cycle."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pass:
    """What stands between two pipelines: a fold of the frame, serial units after it, and the ring of waiting beats.

    ``fold`` is the latency of the folded value, ``serials`` the digits of each serial unit on its way, ``depth`` the
    ring's. ``ends`` is 1 at the last beat of what it folds, where that is not a frame.
    """

    fold: int
    serials: tuple[int, ...]
    depth: int
    ends: NDArray[np.int64] | None = None

    def state(self) -> "_State":
        """Before the first cycle."""
        return _State(self, left=[-1] * len(self.serials), out=[False] * len(self.serials))


@dataclass(frozen=True)
class ReplayPass(Pass):
    """One whose ring gives frame n twice where ``twice[n]``; the second token comes ``again`` cycles after the first pass."""

    twice: Sequence[bool] = ()
    again: int = 0

    def state(self) -> "_State":
        return _ReplayState(self, left=[-1] * len(self.serials), out=[False] * len(self.serials))


@dataclass
class _State:
    """A pass in one cycle."""

    form: Pass
    pending: bool = False
    folded_at: int = -1  # cycle from which the folded value is offered
    left: list[int] = field(default_factory=list)  # digits left of each serial unit; -1: idle
    out: list[bool] = field(default_factory=list)  # its result is offered
    written: int = 0
    read: int = 0
    given: int = 0
    latched: bool = False  # the memory's output holds a beat
    fetched: bool = False  # and the register behind it
    held: bool = False  # and the one behind that
    spare: bool = False  # and the one that takes a beat while that register waits
    taken: bool = False
    token: bool = False  # the ring has its frame's token
    token_leaves: bool = False
    replays: bool = False  # the next token does not come this way

    def held_from(self) -> int:
        """The first beat that has a place in the ring."""
        return self.read

    def _folded(self, now: int) -> bool:
        return self.pending and 0 <= self.folded_at <= now

    def look(self, now: int, ready: bool, ends: Sequence[bool]) -> tuple[bool, bool]:
        """``(offers a beat, takes one)`` with ``ready`` behind it."""
        offers = self.held and self.token
        self.taken = offers and ready
        self.token_leaves = self.taken and ends[self.given]
        room = self.written - self.held_from() < self.form.depth
        blocked = self.pending and self.written < len(ends) and ends[self.written]
        return offers, room and not blocked

    def step(self, now: int, takes: bool, ends: Sequence[bool]) -> None:
        """The clock edge."""
        fetch = not self.fetched or not self.spare
        waiting = self.written != self.read
        if not self.held or self.taken:
            self.held, self.spare = self.fetched or self.spare, False
        elif self.fetched:
            self.spare = True
        if fetch:
            self.latched, self.fetched = waiting, self.latched
        self.read += fetch and waiting
        self.given += self.taken
        self._tokens(now)
        if takes:
            if ends[self.written]:
                self.pending, self.folded_at = True, now + self.form.fold
            self.written += 1

    def _tokens(self, now: int) -> None:
        folded = self._folded(now)
        offered = [folded, *self.out]
        room = (not self.token or self.token_leaves) and not self.replays
        if room:
            self.token = offered[-1]
        if not self.out:
            if folded and room:
                self.pending = False
            return
        idle = [left < 0 for left in self.left]
        accepted = [offer and free for offer, free in zip(offered, idle, strict=False)]
        leaves = [*accepted[1:], room]
        for place, digits in enumerate(self.form.serials):
            if leaves[place]:
                self.out[place] = False
            if self.left[place] > 0:
                self.left[place] -= 1
            elif self.left[place] == 0 and not self.out[place]:
                self.left[place], self.out[place] = -1, True
            if accepted[place]:
                self.left[place] = digits
        if accepted[0]:
            self.pending = False


@dataclass
class _ReplayState(_State):
    """Beats are freed as they leave for the last time."""

    form: ReplayPass
    freed: int = 0
    frame: int = -1  # that of the token
    again: bool = False  # it leaves once more
    second_at: int = -1  # cycle from which the second token is offered

    def held_from(self) -> int:
        return self.freed

    def look(self, now: int, ready: bool, ends: Sequence[bool]) -> tuple[bool, bool]:
        offers, room = super().look(now, ready, ends)
        return offers and not self.again, room  # what leaves once more goes into a sum and no further

    def step(self, now: int, takes: bool, ends: Sequence[bool]) -> None:
        leaves, again, taken = self.token_leaves, self.again, self.taken
        super().step(now, takes, ends)
        self.freed += taken and not again
        if leaves and again:
            self.given = self.read = self.freed
            self.latched = self.fetched = self.held = self.spare = False
            self.second_at = now + self.form.again

    def _tokens(self, now: int) -> None:
        free = not self.token or self.token_leaves
        if self.replays:
            second = free and 0 <= self.second_at <= now
            super()._tokens(now)
            if free:
                self.token = second
            if second:
                self.again = self.replays = False
                self.second_at = -1
            return
        super()._tokens(now)
        if free and self.token:
            self.frame += 1
            self.again = self.replays = self.form.twice[self.frame]


def frame_schedule(ends: NDArray[np.int64], pipelines: Sequence[int], passes: Sequence[Pass]) -> NDArray[np.int64]:
    """The cycle in which each result is taken, counted from that of the first beat.

    ``pipelines`` are the latencies before, between and behind the ``passes``; ``ends`` is 1 at the last beat of
    each frame. Beats are offered in every cycle and results taken in every cycle.
    """
    last = [(ends if form.ends is None else form.ends).astype(bool).tolist() for form in passes]
    states = [form.state() for form in passes]
    full = [0] * len(pipelines)
    exits = [1 << latency - 1 for latency in pipelines]
    taken_at: list[int] = []
    begun, now = 0, 0
    while len(taken_at) < len(ends):
        ready = True
        enters = [False] * len(pipelines)
        advances = [True] * len(pipelines)
        moves = [False] * len(passes)
        for place in range(len(pipelines) - 1, -1, -1):
            leaves = bool(full[place] & exits[place])
            if place < len(passes):
                moves[place] = leaves and ready
            elif leaves:
                taken_at.append(now)
            advances[place] = not leaves or ready
            if place:
                offers, ready = states[place - 1].look(now, advances[place], last[place - 1])
                enters[place] = offers
        enters[0] = begun < len(ends)
        begun += enters[0] and advances[0]
        for place, state in enumerate(states):
            state.step(now, moves[place], last[place])
        for place, latency in enumerate(pipelines):
            if advances[place]:
                full[place] = (full[place] << 1 | enters[place]) & (1 << latency) - 1
        now += 1
    return np.array(taken_at, np.int64)
