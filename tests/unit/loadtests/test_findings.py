"""From what came back to what is said of it."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

from loadtests.mix.findings import Findings, findings
from loadtests.mix.page import page
from loadtests.mix.samples import LOST, UNANSWERED, Fate, Run, Samples
from loadtests.mix.schedule import Kind, Stage
from loadtests.mix.slo import DEFAULT, Goal, read

STAGES = (Stage("slow", 10.0, 0.5), Stage("fast", 10.0, 1.0))


def run_of(samples: Samples) -> Findings:
    run = Run({Kind.DECIDE: samples}, [Counter(model=9, rules=1), Counter()])
    return findings(
        run,
        STAGES,
        read(DEFAULT),
        url="http://127.0.0.1:8000/?a=<b>",
        began="2026-11-24T12:00:00+00:00",
        shape="steady",
        rate=100,
        warm_up_s=1.0,
    )


def some(count: int = 200) -> Samples:
    """One request every tenth of a second; latencies 1, 2, 3 … ms."""
    samples = Samples()
    for number in range(count):
        samples.add(number / 10, number + 1.0, Fate.GOOD)
    return samples


def test_figures_are_those_of_what_fell_due_after_the_warm_up() -> None:
    (endpoint,) = run_of(some()).endpoints
    assert endpoint.found.requests == 190
    assert endpoint.found.due_a_second == 10.0
    assert (endpoint.found.p50_ms, endpoint.found.p99_ms, endpoint.found.p999_ms) == (105.0, 199.0, 200.0)


def test_a_request_belongs_to_the_step_in_which_it_was_due_however_late_its_answer() -> None:
    samples = some()
    samples.add(9.95, 60_000.0, Fate.GOOD)
    (endpoint,) = run_of(samples).endpoints
    assert [of.requests for of in endpoint.by_step] == [91, 100]
    assert endpoint.by_step[0].p999_ms == 60_000.0


def test_a_refusal_is_a_failure_and_no_latency() -> None:
    """Otherwise a server that sheds at once would look fast by it."""
    samples = some()
    for number in range(190):
        samples.add(1 + number / 10, 0.1, Fate.REFUSED, "503")
    (endpoint,) = run_of(samples).endpoints
    assert endpoint.found.error_rate == 0.5
    assert endpoint.found.p50_ms == 105.0
    assert endpoint.found.good_a_second == 10.0
    assert endpoint.failures == {"503": 190}


def test_what_was_lost_or_never_answered_is_both() -> None:
    """Somebody waited for it."""
    samples = some()
    samples.add(5.0, 10_000.0, Fate.LOST, LOST)
    samples.add(5.0, 20_000.0, Fate.LOST, UNANSWERED)
    (endpoint,) = run_of(samples).endpoints
    assert endpoint.found.p999_ms == 20_000.0
    assert endpoint.found.error_rate == 2 / 192


def test_rate_wanted_and_rate_reached_stand_side_by_side() -> None:
    (endpoint,) = run_of(some()).endpoints
    # Half of 100 a second, and a burst of four times that for two of the nine seconds that are measured; then the same
    # with no burst: the next send is after fifteen seconds more.
    assert [round(each, 3) for each in endpoint.wanted_a_second] == [round(50 * (7 + 4 * 2) / 9, 3), 100.0]
    assert [of.good_a_second for of in endpoint.by_step] == [10.0, 10.0]


def test_findings_come_back_from_their_file_as_they_were() -> None:
    found = run_of(some())
    assert Findings.model_validate_json(found.model_dump_json()) == found


def test_one_budget_that_is_missed_is_enough() -> None:
    found = run_of(Samples())
    met, missed, unshown = (Goal(what="any", wanted="", found="", met=each) for each in (True, False, None))
    for goals, kept in (
        ([met, unshown], True),
        ([met, missed], False),
        ([unshown], False),  # a run that shows nothing keeps nothing
        ([], False),
    ):
        assert found.model_copy(update={"goals": goals}).met is kept


class Looked(HTMLParser):
    """What a screen reader and a browser without a network would meet."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.elsewhere: list[str] = []
        self.heads_without_scope = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.tags[tag] += 1
        self.ids += [said["id"] or ""] if "id" in said else []
        if tag == "svg":
            assert said["role"] == "img"
            self.labels.append(said["aria-labelledby"] or "")
        self.elsewhere += [name for name in ("src", "href") if name in said]
        self.heads_without_scope += tag == "th" and "scope" not in said


def test_the_page_needs_nothing_else_and_can_be_read_aloud() -> None:
    text = page(run_of(some()))
    seen = Looked()
    seen.feed(text)
    assert 'lang="en"' in text
    assert seen.tags["script"] == seen.tags["link"] == seen.tags["img"] == 0
    assert seen.elsewhere == []
    assert "url(" not in text
    assert seen.tags["svg"] == 3
    assert set(seen.labels) <= set(seen.ids)
    assert len(seen.ids) == len(set(seen.ids))
    assert seen.heads_without_scope == 0
    assert seen.tags["h1"] == 1
    assert "<b>" not in text  # what comes from outside is escaped


def test_the_page_says_what_was_missed_and_what_this_run_could_not_show() -> None:
    text = page(run_of(some()))
    assert "NOT met" in text
    assert "was not driven" in text
    assert "3 could not be shown by this run" in text
