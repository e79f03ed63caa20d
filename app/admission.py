"""Load shedding: what cannot be answered in time is refused at once, what matters least first.

A server that takes in more than it can answer answers everything late. So the loop begins a bounded number of decisions
in a turn, the others wait in line (`app.http.line`), and whoever would wait there too long is refused. How long that is
is measured, so there is no number that an operator must guess. Sources of the idea:

* Nichols and Jacobson, "Controlling Queue Delay" (https://queue.acm.org/detail.cfm?id=2209336) and RFC 8289: look at
  how long one waits, not at how many wait; a burst may wait, a queue that never empties is worth nothing to anybody.
* Maurer, "Fail at Scale" (https://queue.acm.org/detail.cfm?id=2839461): the same for requests to servers, with two
  bounds, a generous one for bursts and a strict one while the queue has not been empty for 100 ms.
* Zhou et al., "Overload Control for Scaling WeChat Microservices" (https://arxiv.org/abs/1806.04075): shed by queueing
  time, and by the importance of what is asked.

Who waits in line waits for nothing but the processor. A slow store makes no line, however many decisions wait for it,
and is no reason to refuse any: they are answered by their deadlines, without a message if need be.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from time import monotonic, process_time

#: Decisions between two looks at the clocks; in line, where things change fast, time.
LOOK_EVERY, LOOK_EVERY_S = 64, 0.05
WEIGHT, WEIGHT_IN_LINE = 0.2, 0.5
#: Until the first look: the budget of the design (224 µs), with something on top.
COST_S_FIRST = 0.0004
#: Other work of the process (imports, batches) is in its processor time as well; beyond this it is not decisions that
#: cost.
CPU_S_MAX = 0.002
#: Batches that are begun until a decision of the first is answered, the first included: when the third is begun, no
#: more than one is under way (`app.http.line`).
BATCHES = 2
#: Of the time that its batches leave, what a decision may wait in a burst, and in a line that stands: the rest is for
#: the store, and for what was not foreseen.
BURST_SHARE, STANDING_SHARE = 1 / 2, 1 / 4
#: A line that has not been empty for so long stands: it is no burst (RFC 8289's interval).
STANDING_S = 0.1
#: What is begun together where a line stands, in processor time and by the clock: enough to share writes and model runs
#: (in batches of 3 ms a decision costs a tenth more), and a step of it is short enough that a refusal, which waits for
#: its end, comes within 5 ms.
BATCH_S, BATCH_S_MIN = 0.008, 0.0002
#: A process that was not let run for longer tells nothing of how long the next batch takes.
TOOK_S_MAX = 4 * BATCH_S
#: The same while nobody waits, when all steps of decisions that came one by one share a turn.
CALM_TURN_S = 0.004
#: Once something was shed, what matters less is refused for so long: it must not slip in whenever the line is short.
HOLD_S = 1.0


class Rank(IntEnum):
    """What is shed first: the least."""

    BATCH = 0  # nobody waits for one line
    EVENTS = 1  # their clients keep them and send them again
    WEBHOOKS = 2  # their providers send them again, some only a few times
    DECISIONS = 3  # somebody waits


#: The same for what matters less: it is refused when a decision with the bundle's smallest budget would wait so long.
SHARES = {Rank.BATCH: 1 / 16, Rank.EVENTS: 1 / 8, Rank.WEBHOOKS: 3 / 16}


class Admission:
    """Counts decisions in flight, and says what there is room for. One a process."""

    __slots__ = (
        "_answered",
        "_batch_s",
        "_begin_s",
        "_begun_s",
        "_clock_cpu_s",
        "_cost_s",
        "_cpu_s",
        "_guarded",
        "_line_since_s",
        "_looked_cpu_s",
        "_looked_s",
        "_max",
        "_now_s",
        "_shed_s",
        "alert",
        "begun_max",
        "in_flight",
        "patience_s",
        "waiting",
    )

    def __init__(
        self,
        max_in_flight: int | None,
        patience_s: float,
        now_s: Callable[[], float] = monotonic,
        cpu_s: Callable[[], float] = process_time,
    ) -> None:
        """`max_in_flight`: a fixed bound instead of the measured one. `patience_s`: the smallest budget of the bundle's
        placements, in seconds. `cpu_s()`: what the process has used of the processor."""
        self._now_s, self._clock_cpu_s = now_s, cpu_s
        self._max = max_in_flight
        self.patience_s = patience_s
        self._cost_s = self._cpu_s = COST_S_FIRST  # of a decision: how long the next in line waits; processor time
        self._answered = 0
        self._looked_s, self._looked_cpu_s = self._now_s(), self._clock_cpu_s()
        self._shed_s = [float("-inf")] * (len(Rank) + 1)  # when something of a rank was last shed; nothing is above all
        self._line_since_s = self._begun_s = self._looked_s  # when the line began, and a batch of it was begun
        self._batch_s = 0.0  # from one batch to the next
        self._begin_s = BATCH_S  # processor time of a batch
        self.in_flight = 0  # in line or begun
        self.waiting = 0  # in line
        self._guarded = max_in_flight is not None  # something may be refused though nobody waits in line
        #: Whether something may be refused: all that healthy requests look at.
        self.alert = self._guarded
        #: Decisions under way at once: what they still need of the processor must fit the smallest budget. Only a store
        #: that takes half of the budget lets as many be begun, and it answers them all in one turn.
        self.begun_max = 1 << 30  # until the first look

    # Decisions

    @property
    def under_way(self) -> int:
        """Decisions that were begun and are not answered yet."""
        return self.in_flight - self.waiting

    @property
    def delay_s(self) -> float:
        """How long a decision that comes now waits in line."""
        return self.waiting * self._cost_s

    @property
    def at_once(self) -> int:
        """Decisions to be begun together: `BATCH_S`, or less where others use the processor (`batch_begins`); while
        nobody waits, `CALM_TURN_S`."""
        return max(1, int((self._begin_s if self.waiting else CALM_TURN_S) / self._cpu_s))

    def has_room(self, budget_s: float, ahead: int | None = None) -> bool:
        """Whether a decision with this budget can be answered in time, if `ahead` others are before it in line (None:
        all that are there)."""
        if self._max is not None:
            return self.in_flight < self._max
        if not self.waiting:
            return True
        ahead = self.waiting if ahead is None else ahead
        share = STANDING_SHARE if self._now_s() - self._line_since_s > STANDING_S else BURST_SHARE
        return ahead * self._cost_s < self._spare_s(budget_s) * share

    def can_keep(self, budget_s: float) -> bool:
        """The same of a decision that was begun, whose budget became known."""
        return not self.waiting or self._max is not None or self._spare_s(budget_s) > 0

    def is_too_late(self, left_s: float) -> bool:
        """Of a decision that waited in line longer than was foreseen: whether it would end after its budget, of which
        so much is left since it was read."""
        return self._spare_s(left_s) < 0

    def _spare_s(self, budget_s: float) -> float:
        """What a budget leaves for waiting in line."""
        return budget_s - BATCHES * self._batch_s

    def batch_begins(self) -> None:
        """A batch of those in line is begun, and the one before it is answered but for what may be under way. Where
        others use the processor too, that took longer than what was begun: less is begun, until it takes no longer than
        it should, nor so long that its batches take a decision more than a quarter of the smallest budget."""
        now_s = self._now_s()
        took_s = min(now_s - self._begun_s, TOOK_S_MAX)
        self._begun_s = now_s
        self._batch_s += WEIGHT_IN_LINE * (took_s - self._batch_s)
        if took_s > 0:  # the loop's first look at a line comes in the turn in which it began
            should_s = min(BATCH_S, self.patience_s / 4 / BATCHES)
            self._begin_s = min(BATCH_S, max(BATCH_S_MIN, self._begin_s * (should_s / took_s) ** 0.5))
        if now_s - self._looked_s > LOOK_EVERY_S and self._answered:
            self._look(now_s)

    def line_resumed(self) -> None:
        """The line goes on, after it had waited for the store: that was no work."""
        self._begun_s = self._now_s()

    def line_began(self) -> None:
        """Somebody waits in line, and nobody did."""
        self._line_since_s = self._begun_s = self._now_s()
        self._batch_s = 0.0
        self.alert = True

    def line_ended(self) -> None:
        """Nobody waits in line any more."""
        self.alert = self._guarded

    def answered(self) -> None:
        """One more decision was answered, or line of a batch: those are not in flight here, but they are in the
        processor time that is divided."""
        self._answered += 1
        if self._answered == LOOK_EVERY:
            self._look(self._now_s())

    def _look(self, now_s: float) -> None:
        cpu_clock_s = self._clock_cpu_s()
        cpu_s = min((cpu_clock_s - self._looked_cpu_s) / self._answered, CPU_S_MAX)
        self._cpu_s += WEIGHT * (cpu_s - self._cpu_s)
        if self.waiting and self._line_since_s <= self._looked_s:
            self._cost_s += WEIGHT_IN_LINE * ((now_s - self._looked_s) / self._answered - self._cost_s)
        else:
            self._cost_s += WEIGHT * (cpu_s - self._cost_s)
        self._answered = 0
        self._looked_s, self._looked_cpu_s = now_s, cpu_clock_s
        self.begun_max = self._begun_max()
        self._guarded = self._max is not None or now_s - max(self._shed_s) < HOLD_S
        self.alert = self._guarded or self.waiting > 0

    def _begun_max(self) -> int:
        return max(BATCHES, int(self.patience_s * BURST_SHARE / self._cpu_s))

    # What matters less than decisions

    def takes(self, rank: Rank) -> bool:
        """Whether there is room for something of this rank, below decisions."""
        if self._now_s() - max(self._shed_s[rank + 1 :]) < HOLD_S:
            return False
        return not self.waiting or self.delay_s < SHARES[rank] * self._spare_s(self.patience_s)

    def shed(self, rank: Rank, budget_s: float = float("inf")) -> None:
        """Something was refused: for a while, what matters less is too. Not for a decision whose `budget_s` is smaller
        than the bundle's: whoever cannot wait at all says nothing about how long others do."""
        if budget_s < self.patience_s or rank is Rank.BATCH:
            return
        self._shed_s[rank] = self._now_s()
        self._guarded = self.alert = True
