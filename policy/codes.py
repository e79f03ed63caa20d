"""Every word an answer can carry: steps, actions, rungs, reasons, exclusions, degradations.

Closed lists. Their values are a contract with callers, dashboards and stored records: values are never
renamed, and new ones are appended at the end, because a decision record stores a member's index.
"""

from enum import StrEnum


class Code(StrEnum):
    """A word of a closed list. `place` is where it stands there, which is what records hold."""

    place: int

    __hash__ = str.__hash__  # an enum's own runs in Python, for every look into a dictionary

    def __init__(self, *_: object) -> None:
        self.place = len(type(self).__members__)


class Step(Code):
    """The ten steps of a decision, in order: span names, metric labels and `Server-Timing` entries."""

    ADMIT = "admit"
    IDENTIFY = "identify"
    READ = "read"
    GATE = "gate"
    ELIGIBLE = "eligible"
    SCORE = "score"
    LIMITS = "limits"
    ARBITRATE = "arbitrate"
    COMMIT = "commit"
    RESPOND = "respond"


class Action(Code):
    """What the caller shall do."""

    SEND = "send"
    SUPPRESS = "suppress"
    DEFER = "defer"


class Rung(Code):
    """How far down the ladder an answer came from, best first."""

    MODEL = "model"
    RULES = "rules"
    CATEGORY = "category"
    GENERIC = "generic"
    SUPPRESS = "suppress"


class Reason(Code):
    """Why a decision is what it is.

    Precedence, where several are true: the gate's over everything, since nothing else was looked at (in its order:
    `facts_unavailable` where control facts are stale, `switched_off`, `merge_pending`, `suppressed`, `consent_*`); then
    what cut the decision short (`facts_unavailable`, `conflict`, `deadline`); then how the message was chosen, or that
    none was.
    """

    MODEL_RANKED = "model_ranked"
    EXPLORED = "explored"
    RULE_RANKED = "rule_ranked"
    CATEGORY_DEFAULT = "category_default"
    PLACEMENT_DEFAULT = "placement_default"
    BASELINE = "baseline"
    HOLDOUT = "holdout"
    SUPPRESSED = "suppressed"
    CONSENT_UNKNOWN = "consent_unknown"
    CONSENT_DENIED = "consent_denied"
    FACTS_UNAVAILABLE = "facts_unavailable"
    NO_ADMISSIBLE_MESSAGE = "no_admissible_message"
    QUIET_HOURS = "quiet_hours"
    CONFLICT = "conflict"
    MERGE_PENDING = "merge_pending"
    DEADLINE = "deadline"
    SWITCHED_OFF = "switched_off"


class SuppressionReason(Code):
    """Why a customer is suppressed; `suppressed:<this>` is the decision's reason. The most final comes first."""

    ERASED = "erased"
    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBED = "unsubscribed"
    MANUAL = "manual"
    SOFT_BOUNCES = "soft_bounces"


class OutcomeType(Code):
    """What happened to a message after the decision (the names of the field; ESPs' own words are mapped to these)."""

    QUEUED = "queued"
    SENT = "sent"
    NOT_SENT = "not_sent"
    DROPPED = "dropped"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED_HARD = "bounced_hard"
    BOUNCED_SOFT = "bounced_soft"
    OPENED = "opened"
    CLICKED = "clicked"
    CONVERTED = "converted"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    RESUBSCRIBED = "resubscribed"


class Arm(Code):
    """What is done with a customer in a placement, to measure what deciding is worth."""

    TREATMENT = "treatment"
    HOLDOUT = "holdout"  # nothing is sent; what would have been is logged
    BASELINE = "baseline"  # what the business did before


class SwitchKind(Code):
    """What a kill switch turns off."""

    PLACEMENT = "placement"
    MESSAGE = "message"
    MODEL = "model"
    FEATURE = "feature"  # an attribute or a feature: it counts as missing
    PURPOSE = "purpose"
    REGION = "region"
    ALL = "all"  # everything; its name is `*`


#: Only these stop transactional mail (DESIGN section 10, Consent).
STOPS_TRANSACTIONAL = frozenset({SuppressionReason.ERASED, SuppressionReason.HARD_BOUNCE, SuppressionReason.MANUAL})


class Exclusion(Code):
    """Why a candidate was not chosen. A candidate carries the first that applies, in the order of the steps."""

    NOT_ELIGIBLE = "not_eligible"
    NOT_VALID_NOW = "not_valid_now"
    STALE_FEATURE = "stale_feature"
    SENSITIVE_IN_REGION = "sensitive_in_region"
    SENSITIVE_MESSAGE = "sensitive_message"
    LIMIT_REACHED = "limit_reached"
    BUDGET_EXHAUSTED = "budget_exhausted"
    COOLDOWN = "cooldown"
    FATIGUE = "fatigue"
    QUIET_HOURS = "quiet_hours"
    EXCLUDED_BY = "excluded_by"
    SWITCHED_OFF = "switched_off"
    CHOSEN_ELSEWHERE = "chosen_elsewhere"
    OUTRANKED = "outranked"


class Degraded(Code):
    """What was missing from a full answer."""

    MODEL_MISSING = "model_missing"
    MODEL_FAILED = "model_failed"
    MODEL_TIMEOUT = "model_timeout"
    LOW_CONFIDENCE = "low_confidence"
    FEATURES_STALE = "features_stale"
    FEATURES_MISSING = "features_missing"
    NO_PERSONALISATION = "no_personalisation"
    RESTRICTED_REGION = "restricted_region"
    FACTS_UNAVAILABLE = "facts_unavailable"
    COMMIT_UNKNOWN = "commit_unknown"
    DEADLINE = "deadline"
