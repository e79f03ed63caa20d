"""A bundle in which everything that policy can say is in force at once, made for the hour in which it is served: some
of its times lie a few seconds ahead, so that reservations expire and quiet hours bind while a test runs.

What is written here is said once more, in the words of a model that knows nothing of the product: `LIMITS` and what
follows it are what `tests.support.verdict` judges by.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from policy.bundle import Bundle
from policy.compile import load

#: Placement → contacts of one customer. Each placement has a category of its own, which is what limits count.
LIMITS = {"once": 1, "twice": 2, "thrice": 3, "hold": 2, "red": 2, "blue": 2, "shop": 6, "held": 2}
#: Limits that are counted by the customer's calendar; all others roll over seven days.
CALENDAR = {"twice": "day", "thrice": "month"}
#: Of these two a customer gets one.
RIVALS = ("red", "blue")
#: After a purchase nothing is sent in `shop` for so long.
PAUSE_S = 2
#: What nobody confirmed in `hold` stops counting so long after its reservation, and not before its window ends.
RESERVE_TTL_S = 1
#: Sends in `scarce` to all customers together.
BUDGET = 80
#: Where `hold` sends one message after the other, each valid for so long: then the windows of its contacts end.
WAVE_S, WAVES = 2.0, 40
PAUSED, EXPIRING, SCARCE, HELD = "shop", "hold", "scarce", "held"
DEFERRED, TRANSACTIONAL, WORDED, TRIED, COMPARED = "evening", "receipt", "open", "tried", "compared"
#: Where all customers live: no summer time, and the same as UTC, so that its quiet hours are easily said.
ZONE, REGION = "Africa/Abidjan", "CI"
HELD_TRIAL = "some_held/h"
QUIET_FOR_S = 2 * 3600
END_S = datetime(2100, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True)
class Everything:
    """The bundle in a folder, and the times that it was made for."""

    folder: Path
    calm_again_at: datetime  # when the quiet hours of `evening` end

    @property
    def bundle(self) -> Bundle:
        return load(self.folder)


def written(folder: Path, first_wave_in_s: float = 8.0) -> Everything:
    """Write the bundle for now. The servers that shall serve it need a few seconds to start."""
    now_s = time.time()
    first_wave_at_s = math.ceil(now_s + first_wave_in_s) + 0.05  # just after the second that answers will name
    ends = [first_wave_at_s + WAVE_S * wave for wave in range(WAVES)]
    calm_again_s = (int(now_s) + QUIET_FOR_S) // 60 * 60
    quiet = {"from": _clock(now_s - 3600), "until": _clock(calm_again_s), "channels": ["sms"]}
    files = {**_FILES, "messages": {"messages": _messages(ends)}, "consent": _consent(quiet)}
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return Everything(folder, datetime.fromtimestamp(calm_again_s, UTC))


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M")


def _instant(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()


def _consent(quiet: dict[str, Any]) -> dict[str, Any]:
    strict = {"contact": "opt_in", "personalisation": "opt_in"}
    calm = {**strict, "timezones": [ZONE], "quiet": quiet}
    return {"purposes": ["marketing", "personalisation"], "regions": {"default": strict, REGION: calm}}


def _messages(ends: list[float]) -> list[dict[str, Any]]:
    """Two messages a placement, so that a switch for one leaves the other; and one after the other in `hold`."""
    messages: list[dict[str, Any]] = []
    for placement in ("once", "twice", "thrice", "shop", "held", "evening", "scarce"):
        own = [f"{placement}_a"] if placement == SCARCE else [f"{placement}_a", f"{placement}_b"]
        messages += [{"id": each, "placements": [placement], "category": placement} for each in own]
    messages += [{"id": f"{rival}_offer", "placements": [rival], "category": rival} for rival in RIVALS]
    for wave, (since_s, until_s) in enumerate(pairwise([0.0, *ends, END_S])):
        valid = {"from": _instant(since_s), "until": _instant(until_s)}
        messages.append({"id": f"hold_{wave}", "placements": ["hold"], "category": "hold", "valid": valid})
    variants = [{"id": "plain"}, {"id": "urgent"}]
    messages += [
        {"id": "compared_a", "placements": [COMPARED], "variants": variants},
        {"id": "open_a", "placements": [WORDED], "variants": variants},
        {"id": "tried_a", "placements": [TRIED]},
        {"id": "tried_b", "placements": [TRIED], "eligible": "has(customer.visits) && customer.visits >= 3"},
        {"id": "tried_c", "placements": [TRIED], "eligible": 'context.trigger != "browse"', "context_weight": 0.5},
        {"id": "receipt_mail", "placements": [TRANSACTIONAL]},
    ]
    return messages


def _placement(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "channel": "email", "purpose": "marketing", "budget_ms": 200, "default": f"{name}_a"} | more


_FILES: dict[str, Any] = {
    "bundle": {"name": "everything", "owner": "growth", "currency": "EUR"},
    "attributes": {
        "attributes": {
            "visits": {
                "type": "int", "range": [0, 99], "owner": "crm",
                "sensitivity": "personal", "purposes": ["personalisation"],
            },
        }
    },
    "context": {"context": {"trigger": {"type": "enum", "values": ["none", "browse"]}}},
    "placements": {
        "placements": [
            _placement("once"),
            _placement("twice"),
            _placement("thrice"),
            _placement("hold", default="hold_0", confirm="required", reserve_ttl=f"{RESERVE_TTL_S}s"),
            _placement("red", default="red_offer"),
            _placement("blue", default="blue_offer"),
            _placement("shop"),
            _placement("held", baseline="held_b"),
            _placement("scarce"),
            _placement(WORDED, explore={"method": "thompson"}),
            _placement(TRIED, explore={"method": "epsilon", "epsilon": 0.5}),
            _placement(DEFERRED, channel="sms"),
            _placement(COMPARED, explore={"method": "thompson"}),
            {"id": TRANSACTIONAL, "channel": "email", "class": "transactional", "default": "receipt_mail"},
        ]
    },
    "limits": {
        "limits": [
            *(
                {
                    "id": f"{name}_limit", "match": {"category": name}, "at_most": most,
                    "window": {"calendar": CALENDAR[name], "in": "customer"} if name in CALENDAR else {"rolling": "7d"},
                }
                for name, most in LIMITS.items()
            ),
            {
                "id": "scarce_budget",
                "budget": {"message": "scarce_a", "at_most": BUDGET, "window": {"calendar": "day", "in": "UTC"}},
            },
        ],
        "cooldowns": [
            {"id": "after_purchase", "after": "converted", "match": {"category": "shop"}, "for": f"{PAUSE_S}s"},
            {"id": "after_silence", "after": "ignored", "times": 90, "match": {"category": "shop"}, "for": "1d"},
        ],
        "exclusions": [{"id": "rivals", "messages": [f"{rival}_offer" for rival in RIVALS], "within": "1d"}],
        # Computed for every decision, and never reached.
        "fatigue": {"half_life": "1d", "contact": 1.0, "engagement": -0.5, "limit": 100000.0},
    },
    "experiments": {
        "arms": [
            {"id": "some_held", "placements": [HELD], "salt": "h",
             "arms": {"treatment": 0.4, "holdout": 0.3, "baseline": 0.3}},
        ],
        "experiments": [
            {"id": "subject", "placement": TRIED, "salt": "s", "arms": {"formal": 0.5, "friendly": 0.5}},
        ],
    },
}  # fmt: skip
