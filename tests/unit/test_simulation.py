"""What another bundle would have decided: nothing else than now where nothing matters that differs; and every
difference with the rule that made it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from app import cli
from app.core.decision.difference import Change
from app.core.decision.record import base_of_record
from app.core.decision.simulation import Tally
from app.records_file import contents
from app.settings import DEMO_BUNDLE
from app.simulate import Simulating, simulate_all
from app.simulate_report import as_table, as_text_json, document
from models.load import SHIPPED
from policy.bundle import Bundle
from policy.codes import Degraded, SuppressionReason, SwitchKind
from policy.compile import from_canonical, load
from policy.control import Control, Switch
from policy.facts import Facts, Suppression
from policy.rates import wilson
from tests.support.contract import FOLDER
from tests.support.deciding import DAY_MS, HOUR_MS, NOW_MS, contact, decide, denied, facts_of, granted, kind
from tests.support.recorded import demo_decisions, receipt_without_the_store, write_records
from tests.support.strategies import customers, requests

SUPPORT = Path(__file__).parents[1] / "support"
BUNDLES = {
    "demo": DEMO_BUNDLE,
    "contract": FOLDER,
    "trials": SUPPORT / "trials_bundle",
    "privacy": SUPPORT / "privacy_bundle",
    "complete": Path(__file__).parent / "policy" / "bundles" / "complete",
}
FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
BUYER = {"recency": 9, "history": 80.0, "mens": 0, "womens": 1, "zip_code": "Urban", "newbie": 0, "channel": "Web"}
WOMENS_FIRST = {"mens_email": 0.25, "womens_email": 0.5}


@cache
def bundle_named(name: str) -> Bundle:
    return load(BUNDLES[name])


def altered(bundle: Bundle, change: Callable[[dict[str, Any]], object]) -> Bundle:
    """The bundle with its authored files changed."""
    files = orjson.loads(bundle.canonical)
    change(files)
    return from_canonical(orjson.dumps(files, option=orjson.OPT_SORT_KEYS))


def of(files: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(each for each in files if each["id"] == name)


def simulated(
    new: Bundle, old: Bundle, *raws: bytes, registries: Sequence[Path] = (), aborted: Sequence[str] = ()
) -> Tally:
    return Simulating({old.digest: old.canonical}, frozenset(aborted), new.canonical, registries)(raws)


def demo_record(facts: Facts | None = None, *placements: str, model: Any = None, **more: Any) -> bytes:
    asked = list(placements or ("weekly_offer",))
    return decide(bundle_named("demo"), facts or facts_of(BUYER), asked, model=model or WOMENS_FIRST, **more).record


def changed(
    change: Callable[[dict[str, Any]], object], *raws: bytes, registries: Sequence[Path] = ()
) -> tuple[dict[str, int], list[str], Tally]:
    """What a change of the demo makes of records: changes but the same ones, rules, everything."""
    old = bundle_named("demo")
    tally = simulated(altered(old, change), old, *raws, registries=registries)
    differing = {what.value: count for what, count in tally.changes.items() if what is not Change.SAME}
    return differing, [rule for _, rule in tally.whys], tally


def reworded(files: dict[str, Any]) -> None:
    """A digest of its own, and nothing that matters."""
    files["bundle"]["description"] = "the same in other words"


def unchanged(files: dict[str, Any]) -> None:
    """The same bundle, to the digest."""


def turned_round(files: dict[str, Any]) -> None:
    files["placements"]["placements"].reverse()
    files["limits"]["limits"].reverse()


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("change", [unchanged, reworded, turned_round])
@settings(FEW, max_examples=10)  # few, of many records: the bundles are compiled anew for each
@given(data=st.data())
def test_what_does_not_matter_makes_no_difference(name: str, change: Callable[..., None], data: st.DataObject) -> None:
    """Whatever was known and asked: under the same bundle, under another wording and another order of its files."""
    old = bundle_named(name)
    new = altered(old, change)
    raws = [decide(old, data.draw(customers(old)), **data.draw(requests(old))).record for _ in range(6)]
    tally = simulated(new, old, *raws)
    assert (dict(tally.changes), tally.whys, tally.scores["no_model"]) == ({Change.SAME: tally.decisions}, {}, 0)
    assert tally.decisions
    assert all(before == after for before, after in tally.rungs)
    assert [tally.reasons["before", name] for _, name in tally.reasons] == [
        tally.reasons["after", name] for _, name in tally.reasons
    ]


@pytest.mark.parametrize("failure", [Degraded.MODEL_MISSING, Degraded.MODEL_FAILED, Degraded.MODEL_TIMEOUT])
def test_a_model_that_failed_then_is_no_difference(failure: Degraded) -> None:
    differing, _, tally = changed(reworded, demo_record(model=failure))
    assert (differing, tally.scores["recorded"]) == ({}, 1)


def test_a_receipt_sent_without_the_store_is_simulated_without_it_too() -> None:
    old = bundle_named("demo")
    raw = receipt_without_the_store(old)
    assert simulated(altered(old, reworded), old, raw).changes == {Change.SAME: 2}


# Who is contacted, and why


def test_a_stricter_limit_stops_a_contact_and_is_named() -> None:
    weekly = bundle_named("demo").placements["weekly_offer"]
    contacts = tuple(contact(kind(weekly, "mens_email"), NOW_MS - days * DAY_MS, number=days) for days in (6, 4))
    differing, rules, tally = changed(
        lambda files: of(files["limits"]["limits"], "email_weekly").update(at_most=2),
        demo_record(facts_of(BUYER, contacts=contacts)),
    )
    assert differing == {"no_longer_contacted": 1}
    assert rules == ["limit_reached: email_weekly: 2 in rolling 7d"]
    assert tally.limits == {("after", "email_weekly"): 1}


def test_a_limit_that_is_lifted_makes_a_contact_and_names_what_stood_in_the_way() -> None:
    weekly = bundle_named("demo").placements["weekly_offer"]
    today = (contact(kind(weekly, "mens_email"), NOW_MS - HOUR_MS),)
    differing, rules, tally = changed(
        lambda files: files["limits"].update(limits=[]), demo_record(facts_of(BUYER, contacts=today))
    )
    assert differing == {"newly_contacted": 1}
    assert rules == ["limit_reached: one_a_day: 1 in calendar day in customer"]
    assert tally.messages == {("after", "womens_email"): 1}
    assert tally.examples == {Change.NEWLY_CONTACTED: [(f"dec_0001a20cff7d00{'0' * 14}", "cus_1")]}


def test_another_law_of_silence_is_another_reason_or_a_contact() -> None:
    silent = demo_record(facts_of(BUYER, consent=(granted("personalisation"),)))
    refused = demo_record(facts_of(BUYER, consent=(denied("marketing"),)))
    differing, rules, _ = changed(lambda files: of_region(files, "DE").update(contact="opt_out"), silent, refused)
    assert (differing, rules) == ({"newly_contacted": 1}, ["consent_unknown"])


def of_region(files: dict[str, Any], code: str) -> dict[str, Any]:
    found: dict[str, Any] = files["consent"]["regions"][code]
    return found


def test_a_rule_that_leaves_the_message_out_gives_way_to_another_message() -> None:
    differing, rules, _ = changed(
        lambda files: of(files["messages"]["messages"], "womens_email").update(eligible="customer.recency <= 6"),
        demo_record(),
    )
    assert differing == {"other_message": 1}
    assert rules == ["`womens_email` not_eligible: customer.recency <= 6"]


def test_a_rule_that_lets_a_message_in_says_that_it_no_longer_stands_in_the_way() -> None:
    old = altered(
        bundle_named("demo"), lambda files: of(files["messages"]["messages"], "womens_email").update(value=9.0)
    )
    new = altered(old, lambda files: of(files["messages"]["messages"], "womens_email").update(eligible="true"))
    lapsed = decide(old, facts_of({**BUYER, "recency": 20}), ["weekly_offer"], model=WOMENS_FIRST)
    tally = simulated(new, old, lapsed.record, registries=[SHIPPED])
    assert list(tally.whys) == [(Change.OTHER_MESSAGE, "`womens_email` no longer not_eligible: customer.recency <= 12")]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("value", 3.0, "value 1 → 3"),
        ("lever", 3.0, "lever 1 → 3"),
        ("context_weight", "3.0", "context_weight context.trigger == 'browse' ? 1.2 : 1.0 → 3"),
    ],
)
def test_another_worth_of_a_message_is_named(field: str, value: object, said: str) -> None:
    differing, rules, tally = changed(
        lambda files: of(files["messages"]["messages"], "mens_email").update({field: value}), demo_record()
    )
    assert (differing, rules) == ({"other_message": 1}, [f"`mens_email` {said}"])
    assert tally.scores == {"recorded": 1}, "the worth of a message is nothing that a model reads"


def test_another_version_of_a_message_is_told_from_another_message() -> None:
    differing, rules, _ = changed(
        lambda files: of(files["messages"]["messages"], "womens_email").update(version=7), demo_record()
    )
    assert (differing, rules) == ({"other_version": 1}, ["`womens_email` 2 → 7"])


def test_another_variant_is_told_from_another_message() -> None:
    def only_urgent(files: dict[str, Any]) -> None:
        mens = of(files["messages"]["messages"], "mens_email")
        mens["variants"] = [each for each in mens["variants"] if each["id"] == "urgent"]

    raws = [demo_record(seed=seed, model={"mens_email": 0.5, "womens_email": 0.25}) for seed in range(20)]
    differing, rules, _ = changed(only_urgent, *raws)
    assert 0 < differing["other_variant"] < 20
    assert rules == ["`mens_email`: plain → urgent"]


def test_quiet_hours_defer_and_permitted_hours_are_another_window() -> None:
    def quiet(files: dict[str, Any], start: str, end: str) -> None:
        of_region(files, "DE")["quiet"] = [
            {"from": start, "until": end, "days": [], "dates": [], "channels": [], "classes": ["marketing"]}
        ]

    differing, rules, tally = changed(lambda files: quiet(files, "09:00", "15:00"), demo_record())
    assert (differing, rules) == ({"deferred": 1}, ["quiet_hours: not at this time of day"])
    assert tally.actions == {("send", "defer"): 1}
    differing, rules, _ = changed(lambda files: quiet(files, "11:30", "15:00"), demo_record())
    assert (differing, rules) == ({"other_window": 1}, ["immediate → permitted_hours"])


def test_a_deferral_is_seen_to_end() -> None:
    old = altered(bundle_named("demo"), lambda files: of_region(files, "DE").update(quiet=QUIET_DAY))
    deferred = decide(old, facts_of(BUYER), ["weekly_offer"], model=WOMENS_FIRST)
    assert deferred.first.action == "defer"
    opened = simulated(bundle_named("demo"), old, deferred.record)
    assert list(opened.whys) == [(Change.NEWLY_CONTACTED, "quiet_hours: not at this time of day")]
    closed = simulated(
        altered(old, lambda files: of(files["messages"]["messages"], "womens_email").update(eligible="false")),
        old, decide(old, facts_of(BUYER), ["weekly_offer"], model=WOMENS_FIRST).record,
    )  # fmt: skip
    assert not closed.whys, "the other message waits as long"
    nothing = simulated(altered(old, lambda files: files["limits"].update(limits=[NONE])), old, deferred.record)
    assert list(nothing.whys) == [(Change.NO_LONGER_DEFERRED, "limit_reached: none: 0 in rolling 7d")]


QUIET_DAY = [{"from": "09:00", "until": "15:00", "days": [], "dates": [], "channels": [], "classes": ["marketing"]}]
NONE = {
    "id": "none", "classes": ["marketing"], "match": {}, "at_most": 0, "window": {"rolling": "7d"}, "budget": None,
}  # fmt: skip


def test_a_holdout_is_told_as_what_it_is() -> None:
    def hold_all_out(files: dict[str, Any]) -> None:
        files["experiments"]["arms"] = [
            {"id": "all", "placements": ["*"], "salt": "h", "by": "customer", "audience": "true", "assign": {},
             "arms": {"treatment": 0.0, "holdout": 1.0}}
        ]  # fmt: skip

    differing, rules, _ = changed(hold_all_out, demo_record())
    assert (differing, rules) == ({"no_longer_contacted": 1}, ["holdout"])


def test_a_placement_that_is_gone_contacts_nobody() -> None:
    def without_it(files: dict[str, Any]) -> None:
        files["placements"]["placements"] = [of(files["placements"]["placements"], "order_receipt")]
        files["messages"]["messages"] = [of(files["messages"]["messages"], "receipt")]

    stopped = demo_record(facts_of(BUYER, suppressions=(Suppression("*", SuppressionReason.MANUAL, 0),)))
    differing, rules, tally = changed(without_it, demo_record(None, "weekly_offer", "order_receipt"), stopped)
    assert (differing, rules) == ({"no_longer_contacted": 1}, ["the placement `weekly_offer` is gone"])
    assert tally.notes == {("placement_gone", "weekly_offer"): 2}
    assert tally.changes[Change.SAME] == 2


def test_switches_hold_under_the_new_bundle_too() -> None:
    off = Control(switches=(Switch(SwitchKind.MESSAGE, "womens_email", "crm", "wrong price", None, 0),))
    differing, _, tally = changed(reworded, demo_record(control=off))
    assert (differing, tally.messages["after", "womens_email"]) == ({}, 0)


def test_a_spent_budget_is_found_again_by_its_name() -> None:
    def budgets(*names: str) -> Callable[[dict[str, Any]], None]:
        def change(files: dict[str, Any]) -> None:
            for name in names:
                files["limits"]["limits"].append(
                    {"id": name, "classes": ["marketing"], "match": {}, "at_most": None, "window": None,
                     "budget": {"message": "womens_email" if name == "spring" else "mens_email", "at_most": 10,
                                "window": {"calendar": "day", "in": "UTC"}}}
                )  # fmt: skip

        return change

    old = altered(bundle_named("demo"), budgets("spring"))
    new = altered(bundle_named("demo"), budgets("autumn", "spring"))
    assert [budget.id for budget in new.budgets] == ["autumn", "spring"]
    spent = decide(
        old, facts_of(BUYER), ["weekly_offer"], model=WOMENS_FIRST, control=Control(exhausted=frozenset({0}))
    )
    assert spent.first.message.id == "mens_email"
    tally = simulated(new, old, spent.record)
    assert tally.changes == {Change.SAME: 1}
    assert any("autumn" in note and "room" in note for note in document(tally, new, [old])["notes"])


# What a record cannot tell, and what no longer fits


def attribute(files: dict[str, Any], name: str) -> dict[str, Any]:
    return of(files["attributes"]["attributes"], name)


def test_a_fact_that_is_gone_is_left_out_and_counted() -> None:
    def without_newbie(files: dict[str, Any]) -> None:
        files["attributes"]["attributes"] = [a for a in files["attributes"]["attributes"] if a["id"] != "newbie"]
        model = files["models"]["models"][0]
        model["inputs"] = [name for name in model["inputs"] if name != "customer.newbie"]

    _, _, tally = changed(without_newbie, demo_record())
    assert tally.notes == {("fact_gone", "newbie"): 1}
    assert tally.scores == {"no_model": 1}, "the model reads other inputs now, and there is none that does"
    assert tally.rungs == {("model", "rules"): 1}


def test_a_value_that_no_longer_fits_is_missing_and_counted() -> None:
    def only_rural(files: dict[str, Any]) -> None:
        attribute(files, "zip_code")["values"] = ["Rural"]

    rural = demo_record(facts_of({**BUYER, "zip_code": "Rural"}))
    _, _, tally = changed(only_rural, demo_record(), rural)
    assert tally.notes == {("fact_unfit", "zip_code"): 1}


def test_a_fact_that_nobody_looked_up_then_is_missing_and_counted() -> None:
    def about_loyalty(files: dict[str, Any]) -> None:
        files["attributes"]["attributes"].append(attribute(files, "newbie") | {"id": "loyal"})
        of(files["messages"]["messages"], "womens_email")["eligible"] = "customer.loyal == 1"

    differing, rules, tally = changed(about_loyalty, demo_record(), demo_record(facts_of(BUYER, consent=())))
    assert tally.notes == {("fact_lacking", "loyal"): 1}, "whoever may not be contacted needs no facts"
    assert differing == {"other_message": 1}
    assert rules == ["`womens_email` not_eligible: customer.loyal == 1 (`customer.loyal` is missing)"]


def test_a_value_that_the_customer_did_not_have_takes_the_new_default() -> None:
    nothing = demo_record(facts_of({name: value for name, value in BUYER.items() if name != "recency"}))
    differing, _, tally = changed(
        lambda files: attribute(files, "recency").update(default=3), nothing, registries=[SHIPPED]
    )
    assert tally.notes == {}
    assert tally.scores == {"model_run": 1}, "the model would read the default"
    assert tally.actions == {("send", "send"): 1}
    assert set(differing) <= {"other_message"}


def test_context_that_the_new_bundle_does_not_know_is_left_out_and_counted() -> None:
    def without_triggers(files: dict[str, Any]) -> None:
        files["context"]["context"] = [c for c in files["context"]["context"] if c["id"] != "trigger"]
        of(files["messages"]["messages"], "mens_email")["context_weight"] = "1.0"

    browsing = demo_record(context={"trigger": "browse", "region": "DE"})
    assert changed(without_triggers, browsing)[2].notes == {("context_gone", "trigger"): 1}
    narrower = changed(lambda files: of(files["context"]["context"], "trigger").update(values=["none"]), browsing)
    assert narrower[2].notes == {("context_unfit", "trigger"): 1}


def test_another_owner_of_a_fact_does_not_make_it_stale() -> None:
    def handed_over(files: dict[str, Any]) -> None:
        for each in files["attributes"]["attributes"]:
            each.update(owner="cdp", max_age="30d")

    differing, _, tally = changed(handed_over, demo_record(), registries=[SHIPPED])
    assert tally.rungs == {("model", "model"): 1}
    assert set(differing) <= {"other_message"}


def test_new_limits_on_contacts_that_no_record_holds_are_admitted() -> None:
    def on_receipts(files: dict[str, Any]) -> None:
        files["limits"]["limits"].append(NONE | {"id": "receipts", "classes": ["transactional"], "at_most": 5})

    old = bundle_named("demo")
    new = altered(old, on_receipts)
    notes = document(simulated(new, old, demo_record()), new, [old])["notes"]
    assert any("`receipt`" in note and "more room" in note for note in notes)


# Models


def test_other_features_of_a_message_need_the_model_again() -> None:
    def unlabelled(files: dict[str, Any]) -> None:
        of(files["messages"]["messages"], "womens_email")["features"] = {"is_mens": 1, "is_womens": 1}

    ran = changed(unlabelled, demo_record(), registries=[SHIPPED])[2]
    assert (ran.scores, ran.rungs) == ({"model_run": 1}, {("model", "model"): 1})
    missing = changed(unlabelled, demo_record())[2]
    assert (missing.scores, missing.rungs) == ({"no_model": 1}, {("model", "rules"): 1})
    assert any("response/1" in refused for refused in missing.refused)


def test_the_model_gives_the_same_scores_alone_and_among_many() -> None:
    def unlabelled(files: dict[str, Any]) -> None:
        of(files["messages"]["messages"], "womens_email")["features"] = {"is_mens": 0, "is_womens": 1, "extra": 1}
        of(files["messages"]["messages"], "mens_email")["eligible"] = "customer.recency <= 120"

    raws = [each.record for each in demo_decisions(bundle_named("demo"), 60)]
    together = changed(unlabelled, *raws, registries=[SHIPPED])[2]
    alone = Tally()
    for raw in raws:
        alone.add(changed(unlabelled, raw, registries=[SHIPPED])[2])
    assert together == alone


# The whole of it


def test_requests_that_were_never_answered_are_left_out() -> None:
    old = bundle_named("demo")
    raw = demo_record()
    tally = simulated(old, old, raw, aborted=[base_of_record(raw)])
    assert (tally.aborted, tally.decisions) == (1, 0)


def test_a_broken_record_and_one_of_an_unknown_bundle_are_counted_and_stop_nothing() -> None:
    old = bundle_named("demo")
    stranger = decide(bundle_named("contract"), facts_of({}), ["weekly"]).record
    tally = simulated(old, old, b"\xc1", stranger, demo_record())
    assert (tally.unreadable, tally.without_bundle, tally.requests) == (1, 1, 1)


def test_segments_are_those_of_the_new_glossary_and_know_what_they_cannot_know() -> None:
    def glossary(files: dict[str, Any]) -> None:
        files["glossary"]["segments"] = [
            {"id": "recent", "owner": "crm", "rule": "customer.recency <= 12", "doc": ""},
            {"id": "near", "owner": "crm", "rule": "segment.recent && context.region == 'DE'", "doc": ""},
        ]

    quiet = facts_of(BUYER, consent=(granted("marketing"),))
    tally = changed(glossary, demo_record(), demo_record(facts_of({**BUYER, "recency": 20})), demo_record(quiet))[2]
    sizes = {name: count for (of, name, what), count in tally.parts.items() if (of, what) == ("segment", "decisions")}
    assert sizes == {"recent": 1, "near": 1, "recent: unknown": 1, "near: unknown": 1}
    assert tally.parts["region", "DE", "decisions"] == 3
    assert tally.parts["placement", "weekly_offer", "before"] == 3


@pytest.fixture(scope="module")
def demo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = bundle_named("demo")
    raws = [each.record for each in demo_decisions(bundle, 2_000)]
    return write_records(tmp_path_factory.mktemp("records") / "records", bundle, raws, aborted=(5, 1_500))


def stricter(files: dict[str, Any]) -> None:
    of(files["limits"]["limits"], "email_weekly").update(at_most=2)
    of_region(files, "US").update(personalisation="opt_in")
    of(files["messages"]["messages"], "womens_email").update(eligible="customer.recency <= 6", features={"is_mens": 0})


def whole(file: Path, new: Bundle, processes: int) -> dict[str, Any]:
    tally = Tally()
    found = contents(file)
    for _, part in simulate_all(file, found, new, [SHIPPED], processes):
        tally.add(part)
    return document(tally, new, [from_canonical(each) for each in found.bundles.values()])


def test_the_report_is_the_same_whatever_the_number_of_processes(
    demo_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = altered(bundle_named("demo"), stricter)
    one, two = whole(demo_file, new, 1), whole(demo_file, new, 2)
    assert as_text_json(one) == as_text_json(two)
    assert one["left_out"]["aborted"] == 2
    assert one["requests"] == 1_998
    assert sum(each["decisions"] for each in one["changes"]) == one["decisions"]
    for each in one["changes"]:
        if each["why"]:
            assert sum(rule["decisions"] for rule in each["why"]) == each["decisions"]
        assert each["interval"][0] <= each["share"] <= each["interval"][1]
    monkeypatch.setenv("COLUMNS", "100")
    as_table(one)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    assert "limit_reached: email_weekly: 2 in rolling 7d" in shown
    assert "what a newly made contact" in shown


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["simulate", "--processes", "1", *map(str, arguments)])


def test_under_the_bundle_that_is_served_nothing_differs(demo_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    done = run("--bundle", DEMO_BUNDLE, "--records", demo_file)
    assert (done.exit_code, "Nothing differs." in done.stdout) == (0, True)
    found = orjson.loads(run("--bundle", DEMO_BUNDLE, "--records", demo_file, "--json", "--limit", "700").stdout)
    assert (found["requests"], [each["change"] for each in found["changes"]]) == (699, ["same"])


def test_a_bundle_with_mistakes_is_not_simulated_and_they_are_all_shown(demo_file: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle.yaml").write_text("name: shop\nowner: growth\ncurrency: USD\ncolour: red\n")
    done = run("--bundle", tmp_path, "--records", demo_file)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "bundle.yaml:4" in done.stderr
    assert "messages.yaml" in done.stderr
    assert run("--bundle", tmp_path / "nowhere", "--records", demo_file).exit_code == 2


def test_fifty_thousand_records_would_take_less_than_twenty_seconds_on_two_cores(demo_file: Path) -> None:
    """In proportion, in seconds of processor time, since other tests run beside this: 2,000 records in half a second of
    two cores are 50,000 in 20 s; it takes a fifth of that."""
    new = altered(bundle_named("demo"), stricter)
    whole(demo_file, new, 1)  # whatever is computed once
    start_s = time.process_time()
    whole(demo_file, new, 1)
    assert time.process_time() - start_s < 2 * 20 * 2_000 / 50_000


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (1, 1000, 0.0002, 0.0056)],
)
def test_shares_come_with_wilsons_interval(count: int, of: int, low: float, high: float) -> None:
    assert wilson(count, of) == pytest.approx((low, high), abs=5e-5)
