"""Checks of limits.yaml: that what is named exists, and that whatever is counted is kept for as long as it counts."""

from __future__ import annotations

from collections.abc import Iterable

from policy.durations import seconds
from policy.findings import Findings
from policy.rule_types import did_you_mean
from policy.schema import rules

CALENDAR_S = {"day": 86_400, "week": 7 * 86_400, "month": 31 * 86_400}
#: A contact of eight half-lives ago counts 1/256 of one of today: what is forgotten after that moves no score that
#: people look at.
HALF_LIVES_KEPT = 8


def check(found: Findings) -> None:
    limits = found.documents.limits
    messages = found.ids("messages", found.documents.messages.messages)
    for limit in limits.limits:
        here = ("limits", limit.id)
        if limit.budget:
            found.refer("limits.yaml", (*here, "budget", "message"), "message", limit.budget.message, messages)
        if limit.window:
            _match(found, here, limit.match)
            length_s = seconds(limit.window.rolling) if limit.window.rolling else CALENDAR_S[_unit(limit.window)]
            _kept_long_enough(found, (*here, "window"), length_s, "the window is")
    for cooldown in limits.cooldowns:
        _cooldown(found, cooldown)
    for exclusion in limits.exclusions:
        _exclusion(found, exclusion, messages)
    if limits.fatigue:
        _fades_in_time(found, limits.fatigue)


def _unit(window: rules.Window) -> str:
    return window.calendar or "month"


def _match(found: Findings, here: tuple[str, str], match: rules.Match) -> None:
    """Messages and placements must exist. A channel, category or campaign that nothing has yet is only noted: the
    limit binds nothing now, and counts what an earlier bundle sent."""
    messages, placements = found.documents.messages.messages, found.documents.placements.placements
    path = (*here, "match")
    found.refer("limits.yaml", (*path, "message"), "message", match.message, found.ids("messages", messages))
    found.refer("limits.yaml", (*path, "placement"), "placement", match.placement, found.ids("placements", placements))
    present: dict[str, Iterable[str | None]] = {
        "channel": {placement.channel for placement in placements},
        "category": {message.category for message in messages},
        "campaign": {message.campaign for message in messages},
    }
    for key, names in present.items():
        name = getattr(match, key)
        if name is not None and name not in names and not {"messages", "placements"} & found.reading.set_aside.keys():
            hint = did_you_mean(name, [each for each in names if each], "it binds nothing")
            found.note("limits.yaml", (*path, key), "binds_nothing", f"nothing has the {key} `{name}`: {hint}")


def _cooldown(found: Findings, cooldown: rules.Cooldown) -> None:
    """An ignored series is counted from contacts; when another outcome happened last is kept with the profile."""
    here = ("cooldowns", cooldown.id)
    _match(found, here, cooldown.match)
    length_s = seconds(cooldown.duration)
    if cooldown.after == "ignored":
        _kept_long_enough(found, (*here, "for"), length_s, "the pause is")
        return
    kept = found.documents.data.retention.profile
    if length_s > seconds(kept):
        message = f"the pause is longer than profiles are kept (`retention.profile` is {kept})"
        remedy = "shorten the pause, or raise `profile` in data.yaml"
        found.mistake("limits.yaml", (*here, "for"), "bad_window", message, remedy)


def _exclusion(found: Findings, exclusion: rules.MutualExclusion, messages: set[str]) -> None:
    here = ("exclusions", exclusion.id)
    for index, name in enumerate(exclusion.messages):
        path = (*here, "messages", index)
        found.refer("limits.yaml", path, "message", name, messages)
        if name in exclusion.messages[:index]:
            text, remedy = f"message `{name}` stands twice: it would exclude itself", "name another message, or a limit"
            found.mistake("limits.yaml", path, "duplicate_id", text, remedy)
    _kept_long_enough(found, (*here, "within"), seconds(exclusion.within), "the time is")


def _fades_in_time(found: Findings, fatigue: rules.Fatigue) -> None:
    """Only a note: the score is then a little too low, and no limit is opened."""
    kept = found.documents.data.retention.ledger
    if HALF_LIVES_KEPT * seconds(fatigue.half_life) > seconds(kept):
        share = 0.5 ** (seconds(kept) / seconds(fatigue.half_life))
        text = f"contacts are forgotten after {kept} (`retention.ledger`), while they still count {share:.1%}"
        found.note("limits.yaml", ("fatigue", "half_life"), "forgotten_early", text)


def _kept_long_enough(found: Findings, path: tuple[str, ...], length_s: int, subject: str) -> None:
    """A limit is exact only while every contact in its window is still kept."""
    kept = found.documents.data.retention.ledger
    if length_s > seconds(kept):
        message = f"{subject} longer than contacts are kept (`retention.ledger` is {kept})"
        remedy = "shorten it, or raise `ledger` in data.yaml"
        found.mistake("limits.yaml", path, "bad_window", message, remedy)
