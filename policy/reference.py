"""The tables of docs/policy.md, made from the code, so that what a reviewer reads is what runs.

`python -m policy.reference docs/policy.md` writes each table between its marks; a test holds the page to them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from policy.bundle import ContactMode
from policy.codes import (
    STOPS_TRANSACTIONAL,
    Arm,
    Degraded,
    Exclusion,
    OutcomeType,
    Reason,
    Rung,
    Step,
    SuppressionReason,
    SwitchKind,
)
from policy.consent import SOFT_BASES, WEAKER_BASES

STEPS: Final[Mapping[Step, str]] = {
    Step.ADMIT: "size, shape, key and load are checked; nothing is known of the customer yet",
    Step.IDENTIFY: "an alias becomes a customer key; whose it is must be known, or nothing is sent",
    Step.READ: "consent, suppressions, facts and the ledger are read, all at one instant",
    Step.GATE: "switches, merging, suppressions, contact consent, personalisation consent, restricted regions",
    Step.ELIGIBLE: "validity, sensitivity, freshness, authored rules: who may compete",
    Step.SCORE: "a model says how likely a response is; skipped where nothing personal may be read",
    Step.LIMITS: "send window, frequency limits, cooldowns, mutual exclusion, fatigue, budgets",
    Step.ARBITRATE: "one admissible message, or none; holdouts and exploration",
    Step.COMMIT: "versions are compared and the contact is reserved, all or nothing",
    Step.RESPOND: "the answer, with its reason",
}

RUNGS: Final[Mapping[Rung, str]] = {
    Rung.MODEL: "all is well: the model ranked",
    Rung.RULES: "the model is missing, failing, too slow or switched off, a freshness contract forbids it, or the "
    "placement has none: the best approved rule",
    Rung.CATEGORY: "the best probability is under the placement's `min_confidence`: the message of its category",
    Rung.GENERIC: "nothing personal may be read: the placement's default",
    Rung.SUPPRESS: "no permission to contact, suppressed, facts unreadable, or the commit impossible: nothing",
}

REASONS: Final[Mapping[Reason, str]] = {
    Reason.MODEL_RANKED: "the model's best message",
    Reason.EXPLORED: "another than the best was drawn, with the stated propensity",
    Reason.RULE_RANKED: "the first admissible message of the approved order",
    Reason.CATEGORY_DEFAULT: "the message for the best candidate's category",
    Reason.PLACEMENT_DEFAULT: "the placement's generic message",
    Reason.BASELINE: "the customer is in the baseline arm: what the business did before",
    Reason.HOLDOUT: "the customer is held out: nothing is sent, what would have been is recorded",
    Reason.SUPPRESSED: "a suppression covers the channel; its own reason follows after a colon",
    Reason.CONSENT_UNKNOWN: "the customer never said, or said it on a basis that does not suffice here, and the region "
    "does not permit contact without",
    Reason.CONSENT_DENIED: "the customer refused, or a Global Privacy Control did",
    Reason.FACTS_UNAVAILABLE: "a policy fact could not be read: marketing stops; asking again may help",
    Reason.NO_ADMISSIBLE_MESSAGE: "every candidate is excluded; `excluded` says why for each",
    Reason.QUIET_HOURS: "only time is in the way; with `defer` the answer says from when on to ask again",
    Reason.CONFLICT: "facts changed under the decision until its time was up; asking again may help",
    Reason.MERGE_PENDING: "another profile is being merged into this one: marketing stops; asking again will help",
    Reason.DEADLINE: "the budget was used up; asking again may help",
    Reason.SWITCHED_OFF: "a kill switch covers the placement, its purpose, the region or everything",
}

EXCLUSIONS: Final[Mapping[Exclusion, str]] = {
    Exclusion.NOT_ELIGIBLE: "a rule does not hold, fails, or needs a fact that is missing; the rule or fact is named",
    Exclusion.NOT_VALID_NOW: "outside the message's dates",
    Exclusion.STALE_FEATURE: "a fact is older than its contract allows, or lacks events that passed (`not_filled`), "
    "and the contract says to drop the message",
    Exclusion.SENSITIVE_IN_REGION: "reads or reveals what the customer's region restricts",
    Exclusion.SENSITIVE_MESSAGE: "reads or reveals something sensitive, and the customer's consent is not explicit",
    Exclusion.LIMIT_REACHED: "a frequency limit leaves no room: which, its window, the count, and the contacts counted",
    Exclusion.BUDGET_EXHAUSTED: "the sends of this message to all customers together are used up for the window",
    Exclusion.COOLDOWN: "a pause after an outcome, with its end",
    Exclusion.FATIGUE: "the customer's fatigue score is at the limit",
    Exclusion.QUIET_HOURS: "not at this time of day; with the time from when on, or that there is none in reach",
    Exclusion.EXCLUDED_BY: "a message that excludes this one was sent or is reserved, within the time that it says",
    Exclusion.SWITCHED_OFF: "a kill switch covers the message",
    Exclusion.CHOSEN_ELSEWHERE: "the same request sends it in a more important placement",
    Exclusion.OUTRANKED: "admissible, and another was chosen: which, and by how much",
}

DEGRADATIONS: Final[Mapping[Degraded, str]] = {
    Degraded.MODEL_MISSING: "the model is not loaded, or switched off",
    Degraded.MODEL_FAILED: "the model failed or is out of service",
    Degraded.MODEL_TIMEOUT: "the model did not answer in the time that was left",
    Degraded.LOW_CONFIDENCE: "the best probability is under the placement's threshold",
    Degraded.FEATURES_STALE: "a fact is older than its contract allows, or is a feature under contract that lacks "
    "events that passed",
    Degraded.FEATURES_MISSING: "an input is missing, and the model's contract says to rank by rules then; or what is "
    "stored of features cannot be read, or one lacks events that passed",
    Degraded.NO_PERSONALISATION: "nothing personal was read",
    Degraded.RESTRICTED_REGION: "the region restricts what the placement would read: nothing personal was read",
    Degraded.FACTS_UNAVAILABLE: "a policy fact could not be read",
    Degraded.COMMIT_UNKNOWN: "nobody knows whether the reservation was written; it is taken back",
    Degraded.DEADLINE: "the budget was used up",
}

SUPPRESSIONS: Final[Mapping[SuppressionReason, str]] = {
    SuppressionReason.ERASED: "the customer was erased",
    SuppressionReason.HARD_BOUNCE: "the address does not exist",
    SuppressionReason.COMPLAINT: "the customer called a message spam",
    SuppressionReason.UNSUBSCRIBED: "the customer unsubscribed",
    SuppressionReason.MANUAL: "somebody set it",
    SuppressionReason.SOFT_BOUNCES: "too many temporary failures",
}

SWITCHES: Final[Mapping[SwitchKind, str]] = {
    SwitchKind.PLACEMENT: "the placement answers `suppress`, `switched_off`",
    SwitchKind.MESSAGE: "the message is excluded, `switched_off`, also where it is a default",
    SwitchKind.MODEL: "rules rank instead, `model_missing`",
    SwitchKind.FEATURE: "the fact counts as missing, for rules and models",
    SwitchKind.PURPOSE: "what needs the purpose is not sent; of `personalisation`: nothing personal is read",
    SwitchKind.REGION: "nothing is sent to customers of the region",
    SwitchKind.ALL: "nothing is sent at all; its name is `*`",
}

ARMS: Final[Mapping[Arm, str]] = {
    Arm.TREATMENT: "decided as described here",
    Arm.HOLDOUT: "decided, recorded, and not sent",
    Arm.BASELINE: "given what the business did before, under the same consent, limits and hours",
}

OUTCOMES: Final[Mapping[OutcomeType, str]] = {
    OutcomeType.QUEUED: "none",
    OutcomeType.SENT: "confirms the contact and fixes its time",
    OutcomeType.NOT_SENT: "releases the contact: it no longer counts in any limit",
    OutcomeType.DROPPED: "releases the contact",
    OutcomeType.DELIVERED: "confirms the contact",
    OutcomeType.DEFERRED: "none",
    OutcomeType.BOUNCED_HARD: "suppresses the channel; releases the contact where it was not delivered before",
    OutcomeType.BOUNCED_SOFT: "releases the contact where it was not delivered before",
    OutcomeType.OPENED: "engagement, unless a machine opened it",
    OutcomeType.CLICKED: "engagement, unless a machine clicked",
    OutcomeType.CONVERTED: "engagement; starts cooldowns after `converted`",
    OutcomeType.COMPLAINED: "suppresses marketing on every channel",
    OutcomeType.UNSUBSCRIBED: "suppresses marketing in its scope",
    OutcomeType.RESUBSCRIBED: "lifts what an unsubscribe set, and nothing else",
}


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _of(words: Mapping[Any, str], code: str, meaning: str) -> str:
    return _table((code, meaning), ((f"`{word}`", text) for word, text in words.items()))


def _suppressions() -> str:
    rows = (
        (f"`{reason}`", text, "yes" if reason in STOPS_TRANSACTIONAL else "no") for reason, text in SUPPRESSIONS.items()
    )
    return _table(("suppression", "meaning", "stops transactional mail too"), rows)


_MODES: Mapping[ContactMode, tuple[str, str]] = {
    "opt_in": ("any basis but " + ", ".join(f"`{basis}`" for basis in sorted(WEAKER_BASES)), "no"),
    "soft_opt_in": (
        "the same, and " + ", ".join(f"`{basis}`" for basis in sorted(SOFT_BASES)),
        "no",
    ),
    "opt_out": ("any basis", "yes, and the answer says on what ground"),
}


def _modes() -> str:
    rows = ((f"`{mode}`", grant, silence) for mode, (grant, silence) in _MODES.items())
    return _table(("a region's row says", "a grant suffices on", "silence permits"), rows)


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "steps": lambda: _of(STEPS, "step", "what is checked, in this order"),
    "modes": _modes,
    "suppressions": _suppressions,
    "rungs": lambda: _of(RUNGS, "rung", "when"),
    "reasons": lambda: _of(REASONS, "reason", "meaning"),
    "exclusions": lambda: _of(EXCLUSIONS, "exclusion of a candidate", "meaning"),
    "degraded": lambda: _of(DEGRADATIONS, "degraded", "what was missing from a full answer"),
    "switches": lambda: _of(SWITCHES, "switch", "effect, on every node within a second"),
    "arms": lambda: _of(ARMS, "arm", "what happens"),
    "outcomes": lambda: _of(OUTCOMES, "outcome", "effect on policy"),
}
_MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """The page with every marked table as the code has it."""
    return _MARKED.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", page)


def main(path: Path) -> None:
    path.write_text(with_tables(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
