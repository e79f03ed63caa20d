"""The tests against one mutant after the other, in one collected pytest session: every mutant in a fork of its own.

mutmut starts pytest anew for each mutant; collecting a thousand tests three thousand times would take hours. Nothing
may be remembered from one mutant to the next, so nothing of `policy/` runs in the parent but what imports run.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state

#: Verdicts as mutmut writes them. Only a test that failed kills: a fork that broke otherwise is suspicious, and counts
#: as alive.
SURVIVED, KILLED, NO_TESTS, SUSPICIOUS, TIMEOUT = 0, 1, 33, 35, 36
#: Enough to find what a property test finds easily.
EXAMPLES_MAX = 20
#: The tests of a mutant that nobody kills would run for minutes; those that are nearest and quickest come first.
SECONDS_A_MUTANT = 10.0
#: Test files that are near a file of `policy/`, besides those of its own name.
NEAREST = {
    **dict.fromkeys(("bundle", "catalogue", "durations", "audit", "lineage"), "test_compile"),
    **dict.fromkeys(("confirmation", "cooldowns", "exclusions", "fatigue", "limits"), "test_contact"),
    **dict.fromkeys(("arms", "arbitration"), "test_trial"),
    **dict.fromkeys(("calendar", "hours"), "test_time"),
    **dict.fromkeys(("checks", "rule_checks", "limit_checks", "time_checks"), "test_lint"),
    **dict.fromkeys(
        ("data_checks", "purpose_checks", "findings", "reading", "source", "types", "wording"), "test_lint"
    ),
    "grammar": "test_expressions",
}


class Session:
    """A pytest plugin that runs `mutants` instead of the tests, and tells `heard` of every verdict."""

    def __init__(self, mutants: Sequence[str], heard: Callable[[str, int], None]) -> None:
        self._mutants, self._heard = mutants, heard

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """The same mutants shall survive in every run; and a failure is not made smaller, since nobody reads it."""
        from hypothesis import Phase, settings  # not before pytest has prepared it

        for item in items:
            if is_property(item):
                own = item.obj._hypothesis_internal_use_settings  # type: ignore[attr-defined]  # Hypothesis's mark on a test
                item.obj._hypothesis_internal_use_settings = settings(  # type: ignore[attr-defined]  # Hypothesis's mark on a test
                    own,
                    max_examples=min(own.max_examples, EXAMPLES_MAX),
                    derandomize=True,
                    database=None,
                    phases=(Phase.explicit, Phase.generate),
                )

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        hits, seconds = _statistics(session)
        started, checked = time.monotonic(), set()
        for number, mutant in enumerate(self._mutants, 1):
            function = mutant.rpartition("__mutmut_")[0]
            nearest = ordered(function, hits.get(function, ()), items, seconds)
            if nearest and _module(function) not in checked:
                checked.add(_module(function))
                _control(session, function, nearest)
            self._heard(mutant, _verdict(session, mutant, nearest) if nearest else NO_TESTS)
            if number % 50 == 0:
                sys.stderr.write(f"{number} of {len(self._mutants)} mutants, {time.monotonic() - started:.0f} s\n")
        return True


def is_property(item: pytest.Item) -> bool:
    return hasattr(getattr(item, "obj", None), "_hypothesis_internal_use_settings")


def ordered(
    function: str, hits: Sequence[str], items: dict[str, pytest.Item], seconds: dict[str, float]
) -> list[pytest.Item]:
    """The tests that reach a function, nearest and quickest first, for as long as a mutant may take; then others of
    their files, which may have it behind them in a fixture that they share."""
    module = _module(function).rpartition(".")[2]
    near = (f"test_{module}", NEAREST.get(module, f"test_{module}"))
    files = {nodeid.partition("::")[0] for nodeid in hits}
    others = [nodeid for nodeid in items if nodeid not in hits and nodeid.partition("::")[0] in files]
    chosen: dict[str, pytest.Item] = {}
    left_s = SECONDS_A_MUTANT
    for group in (hits, others):
        nearest = [nodeid for nodeid in group if any(name in nodeid for name in near)]
        for some, until_s in ((nearest, 0.4 * left_s), (group, 0.0)):  # the nearest may not use up all of the time
            for nodeid in sorted(some, key=lambda each: (is_property(items[each]), seconds[each])):
                if left_s > until_s and nodeid not in chosen:
                    chosen[nodeid] = items[nodeid]
                    left_s -= seconds[nodeid]
    return [*chosen.values()]


def _statistics(session: pytest.Session) -> tuple[dict[str, list[str]], dict[str, float]]:
    """Which tests reach which function, and how long each takes; found in a fork. All must pass."""

    def run() -> None:
        set_mutant_under_test("stats")
        hits: dict[str, list[str]] = defaultdict(list)
        seconds: dict[str, float] = {}
        for item, after in _pairs(session.items):
            started = time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            seconds[item.nodeid] = time.process_time() - started
            for function in state()._stats:
                hits[function].append(item.nodeid)
            state()._stats.clear()
            if session.testsfailed:
                raise SystemExit(f"{item.nodeid} fails without any mutant")
        Path("statistics.json").write_text(json.dumps([hits, seconds]))

    if _forked(run) != 0:
        pytest.exit("the tests must pass before mutants are made", 1)
    hits, seconds = json.loads(Path("statistics.json").read_text())
    return hits, seconds


def _verdict(session: pytest.Session, mutant: str, items: Sequence[pytest.Item]) -> int:
    def run() -> None:
        cpu_s = int(4 * SECONDS_A_MUTANT + 20)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
        set_mutant_under_test(mutant)
        for item, after in _pairs(items):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if session.testsfailed:
                os._exit(1)

    code = _forked(run)
    if code < 0:
        return TIMEOUT
    return code if code in (SURVIVED, KILLED) else SUSPICIOUS


def _control(session: pytest.Session, function: str, items: Sequence[pytest.Item]) -> None:
    """A mutant that is none must survive. Once a file left open by the runner made the first test of every fork fail:
    all mutants were called killed, also those that nothing can tell from the original."""
    if _verdict(session, f"{function}__mutmut_none", items) != SURVIVED:
        pytest.exit(f"the tests of {_module(function)} fail in a fork without any mutant", 1)


def _module(function: str) -> str:
    return function.partition(".x")[0]


def _pairs(items: Sequence[pytest.Item]) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
    return zip(items, [*items[1:], None], strict=True)


def _forked(run: Callable[[], None]) -> int:
    """The exit code of a fork that runs this; negative where a signal ended it."""
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            run()
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(2)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
