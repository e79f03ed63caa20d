"""How `nextbest simulate` shows what it found: one document, as JSON for tools and as tables for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.core.decision.answer import instant
from app.core.decision.difference import Change
from app.core.decision.moving import uncounted_contacts
from app.core.decision.simulation import Tally
from policy.bundle import Bundle
from policy.rates import wilson

#: Rules shown of one kind of change; JSON has them all.
RULES_SHOWN = 8
ALONE = (
    "each request was decided on the contacts that its own record holds: what a newly made contact would have "
    "forbidden afterwards is not in these counts"
)
_CHANGES = {
    Change.NEWLY_CONTACTED: "newly contacted; what no longer stands in the way",
    Change.NO_LONGER_CONTACTED: "no longer contacted; what stands in the way",
    Change.DEFERRED: "deferred: to be asked for again later",
    Change.NO_LONGER_DEFERRED: "no longer deferred: nothing now, and nothing later",
    Change.OTHER_MESSAGE: "another message",
    Change.OTHER_VERSION: "another version of the message",
    Change.OTHER_VARIANT: "another variant of the message",
    Change.OTHER_WINDOW: "another send window",
    Change.OTHER_REASON: "nothing sent, as before, for another reason",
    Change.SAME: "the same",
}
_NOTES = {
    "fact_gone": "`{name}` is no fact of the new bundle: left out of {count} requests that hold it",
    "fact_unfit": "`{name}` does not fit its new type in {count} requests: taken as missing",
    "fact_redefined": "`{name}` means something else in the new bundle: left out of {count} requests that hold it",
    "fact_lacking": "{count} requests lack `{name}`, which nobody looked up then: taken as missing",
    "context_gone": "{count} requests sent `context.{name}`, which the new bundle would refuse (422): left out",
    "context_unfit": "{count} requests sent a `context.{name}` that the new bundle would refuse (422): left out",
    "placement_gone": "{count} decisions were asked for `{name}`, which the new bundle would refuse (422)",
}


def document(tally: Tally, new: Bundle, old: Sequence[Bundle]) -> dict[str, Any]:
    """Everything that is to be said, in one order: the most frequent first, then by name."""
    return {
        "bundle": {"name": new.name, "digest": new.digest},
        "recorded_under": sorted(bundle.digest for bundle in old),
        "requests": tally.requests,
        "decisions": tally.decisions,
        "from": None if tally.first_ms is None else instant(tally.first_ms).isoformat(),
        "until": None if tally.last_ms is None else instant(tally.last_ms).isoformat(),
        "left_out": {
            "aborted": tally.aborted,
            "unreadable": tally.unreadable,
            "without_bundle": tally.without_bundle,
        },
        "changes": [_change(change, tally) for change in Change if tally.changes[change]],
        "sends": _before_after(tally.messages, "message"),
        "limits": _before_after(tally.limits, "limit"),
        "reasons": _before_after(tally.reasons, "reason"),
        "rungs": _moves(tally.rungs),
        "actions": _moves(tally.actions),
        "by": {kind: _parts(kind, tally) for kind in ("placement", "region", "segment")},
        "scores": {name: tally.scores[name] for name in ("recorded", "model_run", "no_model")},
        "models_refused": sorted(tally.refused),
        "notes": list(_notes(tally, new, old)),
    }


def _change(change: Change, tally: Tally) -> dict[str, Any]:
    rules = Counter({rule: count for (of, rule), count in tally.whys.items() if of is change})
    return {
        "change": change.value,
        **_share(tally.changes[change], tally.decisions),
        "why": [{"rule": rule, **_share(count, tally.decisions)} for rule, count in _ordered(rules)],
        "examples": [
            {"decision_id": decision, "customer": whose} for decision, whose in tally.examples.get(change, ())
        ],
    }


def _share(count: int, of: int) -> dict[str, Any]:
    low, high = wilson(count, of)
    return {"decisions": count, "share": round(count / of, 6), "interval": [round(low, 6), round(high, 6)]}


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))


def _before_after(counts: Counter[tuple[str, str]], what: str) -> list[dict[str, Any]]:
    both: Counter[str] = Counter()
    for (_, name), count in counts.items():
        both[name] += count
    return [
        {what: name, "before": counts["before", name], "after": counts["after", name]} for name, _ in _ordered(both)
    ]


def _moves(counts: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [{"before": before, "after": after, "decisions": count} for (before, after), count in ordered]


def _parts(kind: str, tally: Tally) -> list[dict[str, Any]]:
    sizes = Counter({name: n for (of, name, what), n in tally.parts.items() if of == kind and what == "decisions"})
    rows = []
    for name, decisions in _ordered(sizes):
        sends = {when: tally.parts[kind, name, when] for when in ("before", "after")}
        changes = {
            change.value: tally.parts[kind, name, change.value] for change in Change if change is not Change.SAME
        }
        rows.append({kind: name, "decisions": decisions, "sends": sends, "changes": changes})
    return rows


def _notes(tally: Tally, new: Bundle, old: Sequence[Bundle]) -> Iterable[str]:
    yield ALONE
    for (what, name), count in sorted(tally.notes.items()):
        yield _NOTES[what].format(name=name, count=count)
    if tally.scores["model_run"]:
        ran, recorded = tally.scores["model_run"], tally.scores["recorded"]
        yield f"{ran} decisions were scored by running the model now, {recorded} by the scores of then"
    if tally.scores["no_model"]:
        yield f"{tally.scores['no_model']} decisions were ranked by rules, because the model could not be run"
    yield from sorted(tally.refused)
    yield from _unknown(new, old)
    for count, why in (
        (tally.aborted, "were decided and never answered: left out"),
        (tally.unreadable, "cannot be read under their own bundle: left out"),
        (tally.without_bundle, "refer to a bundle that the file does not hold: left out"),
    ):
        if count:
            yield f"{count} requests {why}"


def _unknown(new: Bundle, old: Sequence[Bundle]) -> Iterable[str]:
    """What old records cannot hold, because nothing in their bundle asked for it."""
    messages = sorted({name for bundle in old for name in uncounted_contacts(bundle, new)})
    if messages:
        named = ", ".join(f"`{name}`" for name in messages)
        yield f"the new bundle counts contacts with {named}, and records do not hold them: they have more room here"
    if new.cooldowns and not all(bundle.cooldowns for bundle in old):
        yield "the new bundle pauses after outcomes, and records of a bundle without any hold none: fewer here"
    known = {budget.id for bundle in old for budget in bundle.budgets}
    for budget in new.budgets:
        if budget.id not in known:
            yield f"nobody counted the budget `{budget.id}`: it is taken to have room"


def as_text_json(found: dict[str, Any]) -> str:
    """The document as JSON."""
    return json.dumps(found, indent=2, ensure_ascii=False)


def as_table(found: dict[str, Any]) -> None:
    """Prints what changes and why, then limits, sends, rungs and parts, then what to know about all this."""
    console = Console()
    name, digest = found["bundle"]["name"], found["bundle"]["digest"]
    console.print(f"Simulated: {name} {_short(digest)}", style="bold", highlight=False)
    console.print(
        f"{found['decisions']:,} decisions of {found['requests']:,} requests, {_day(found['from'])} to "
        f"{_day(found['until'])} UTC",
        highlight=False,
    )
    console.print(f"recorded under {', '.join(map(_short, found['recorded_under']))}", highlight=False)
    if all(each["change"] == Change.SAME for each in found["changes"]):
        console.print("Nothing differs.", style="bold green")
    else:
        console.print(_changes_table(found))
    _print_pairs(console, "limits hit", found["limits"], "limit")
    _print_pairs(console, "sends", found["sends"], "message")
    _print_pairs(console, "rungs", _by_rung(found["rungs"]), "rung")
    console.print(_parts_table(found))
    for note in found["notes"]:
        console.print(Text(f"· {note}", style="dim"))


def _changes_table(found: dict[str, Any]) -> Table:
    """One row a kind of change, under it the rules behind it."""
    table = Table("what changes, and why", "decisions", "share", "95 %", expand=True)
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for each in found["changes"]:
        table.add_section()
        table.add_row(Text(_CHANGES[Change(each["change"])], style="bold"), *_numbers(each))
        for rule in each["why"][:RULES_SHOWN]:
            table.add_row(Text(f"  {rule['rule']}"), *_numbers(rule))
        rest = each["why"][RULES_SHOWN:]
        if rest:
            table.add_row(Text(f"  {len(rest)} more rules"), f"{sum(rule['decisions'] for rule in rest):,}", "", "")
    return table


def _numbers(each: dict[str, Any]) -> tuple[str, str, str]:
    low, high = each["interval"]
    return f"{each['decisions']:,}", f"{100 * each['share']:.2f} %", f"{100 * low:.2f}–{100 * high:.2f}"


def _print_pairs(console: Console, title: str, rows: Sequence[dict[str, Any]], what: str) -> None:
    if not rows:
        return
    table = Table(title, "before", "after", "difference")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        difference = row["after"] - row["before"]
        table.add_row(
            Text(row[what]), f"{row['before']:,}", f"{row['after']:,}", f"{difference:+,}" if difference else ""
        )
    console.print(table)


def _by_rung(moves: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    for move in moves:
        before[move["before"]] += move["decisions"]
        after[move["after"]] += move["decisions"]
    return [{"rung": name, "before": before[name], "after": after[name]} for name in dict.fromkeys((*before, *after))]


def _parts_table(found: dict[str, Any]) -> Table:
    table = Table("part", "decisions", "sends", "after", "newly", "no longer", "deferred", "other")
    for column in table.columns[1:]:
        column.justify = "right"
    shown = (Change.NEWLY_CONTACTED, Change.NO_LONGER_CONTACTED, Change.DEFERRED, Change.OTHER_MESSAGE)
    for kind, rows in found["by"].items():
        table.add_section()
        for row in rows:
            changes = [row["changes"][change.value] for change in shown]
            counts = [row["decisions"], row["sends"]["before"], row["sends"]["after"]]
            table.add_row(
                Text(f"{kind} {row[kind]}"), *(f"{n:,}" for n in counts), *(f"{n:,}" if n else "" for n in changes)
            )
    return table


def _short(digest: str) -> str:
    return digest[: len("sha256:") + 12]


def _day(iso: str | None) -> str:
    return "—" if iso is None else iso[:16].replace("T", " ")
