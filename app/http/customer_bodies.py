"""Customers on the wire: what callers may send, checked, and turned into writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core.core_schema import CoreSchema, UnionSchema

from app.core.customers import AttributeChecker, ConsentChange, CustomerWrite, Mistake, scalar_text
from app.core.events.masking import names_somebody
from app.core.identity import KINDS, Alias, Kind, Refusal, alias_of, attribute_hash, key_refusal, resolve_reference
from app.core.keeping import MATRIX_NAME, identity_handling
from app.errors import Problem
from app.http import places
from app.http.problems import shown_name, validation_problem
from policy.bundle import Bundle
from policy.codes import SuppressionReason

Body = TypeVar("Body")

#: Sources and legal bases become short ids that live as long as the deployment: name systems, not people or times.
NAME = r"^[A-Za-z0-9_.:\-]{1,48}$"
CHANNEL = r"^(\*|[a-z0-9_]{1,48})$"
ID = r"^[a-z0-9_]{1,48}$"
ITEMS_MAX = 100  # consents, or preferences, in one body
NAMED_MAX = 10  # undeclared attributes that an answer names
WHY_MAX = 200
#: A customer's own hours: the preference that decides about the time of sending, so that its form is checked.
BEST_HOURS = "best_hours"
HOURS = re.compile(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d")
#: What a reason must not hold, since it is kept and shown: an e-mail address, or digits written as for a telephone.
DIRECT_IN_TEXT = re.compile(r"\S@\S|\+\d[\d\s().\-]{6,}|\d{3}\)?[\s.\-]\d{3}[\s.\-]\d{4}")
EPOCH, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def _reason(text: str) -> str:
    if DIRECT_IN_TEXT.search(text):
        raise ValueError("looks like it names a person: say why by a ticket or an occasion, without address or number")
    if not text.isprintable():
        raise ValueError("expected one line of text")
    return text


Purpose = Annotated[str, Field(pattern=ID)]
Channel = Annotated[str, Field(pattern=CHANNEL, description="A channel, or `*` for every channel.")]


def _system(name: str) -> str:
    if names_somebody(name):
        raise ValueError("looks like an address or a number of somebody: name a system or a legal basis")
    return name


Name = Annotated[str, Field(pattern=NAME), AfterValidator(_system)]
At = Annotated[AwareDatetime, Field(ge=EPOCH, description="When it was said, ISO 8601 with a zone; absent: now.")]
Expires = Annotated[
    AwareDatetime,
    Field(
        ge=EPOCH, lt=END, description="From then on it is as if nothing was said; after `at`. Absent: it has no end."
    ),
]
Why = Annotated[
    str,
    Field(min_length=1, max_length=WHY_MAX, description="Why, for the history: a ticket, an occasion; never a person."),
    AfterValidator(_reason),
]
State = Literal["granted", "denied"]
Scalar = str | int | float | bool

STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _Consent(BaseModel):
    """What a customer said about one purpose on one channel. The later `at` wins, ties go to `denied`."""

    model_config = STRICT

    state: State
    source: Name = Field(description="Where it was said: `signup_form`, `preference_centre`, …")
    basis: Name = Field(description="The legal basis: `consent`, `legitimate_interest`, …")
    at: At | None = None
    expires_at: Expires | None = None

    @model_validator(mode="after")
    def _ends_after_it_began(self) -> Self:
        if self.at is not None and self.expires_at is not None and self.expires_at <= self.at:
            raise ValueError("`expires_at` is not after `at`: name a later end, or leave it out for none")
        return self


class ConsentBody(_Consent):
    """What a customer said about one purpose on one channel. The later `at` wins, ties go to `denied`."""

    why: Why | None = None


class ConsentItem(_Consent):
    """A consent inside a customer."""

    purpose: Purpose
    channel: Channel


class SuppressionBody(BaseModel):
    """A stop that no consent lifts."""

    model_config = STRICT

    reason: SuppressionReason = SuppressionReason.MANUAL
    source: Name = Field(description="Who says so: `support_desk`, …")
    at: At | None = None
    why: Why | None = None


class CustomerBody(BaseModel):
    """A customer, merged member by member into what is known: what is absent stays, `null` deletes."""

    model_config = STRICT

    attributes: dict[str, Any] = Field(
        default_factory=dict, description="Attributes that the bundle declares, by name."
    )
    region: Annotated[str, AfterValidator(places.region)] | None = Field(None, examples=["US", "US-CA"])
    timezone: Annotated[str, AfterValidator(places.timezone)] | None = Field(None, examples=["America/New_York"])
    language: Annotated[str, AfterValidator(places.language)] | None = Field(None, examples=["en"])
    consent: list[ConsentItem] = Field(default_factory=list, max_length=ITEMS_MAX)
    identities: dict[Kind, str] = Field(
        default_factory=dict, description="Other names of the customer; stored as keyed hashes only."
    )
    preferences: dict[Annotated[str, Field(pattern=ID)], Scalar | None] = Field(
        default_factory=dict,
        max_length=ITEMS_MAX,
        description="Preferences by name; `best_hours`, such as `18:00-21:00`, are the customer's own hours.",
    )
    why: Why | None = None


class OneRefusal:
    """Says once what a member with several forms may be, instead of once a form under pydantic's own names for them."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        found = cast(UnionSchema, handler(source))
        found["custom_error_type"] = "no_reference"
        found["custom_error_message"] = f"expected the customer's key, or an object with one of {', '.join(KINDS)}"
        return found


Reference = Annotated[
    str | Annotated[dict[Kind, str], Field(min_length=1, max_length=1)],
    OneRefusal(),
    Field(description="The key, or one alias: `user_id`, `anonymous_id`, `email_sha256`, `phone_sha256`, `external`."),
]


class CustomerLine(CustomerBody):
    """A line of an import."""

    customer: Reference


CONSENT = TypeAdapter(ConsentBody)
SUPPRESSION = TypeAdapter(SuppressionBody)
CUSTOMER = TypeAdapter(CustomerBody)
LINE = TypeAdapter(CustomerLine)


def parse(adapter: TypeAdapter[Body], raw: bytes) -> Body:
    """A body, or Problem: `malformed_json`, or `invalid_request` that names every place and repeats no value."""
    try:
        body: Body = adapter.validator.validate_json(raw)  # the adapter's own method passes eight options on
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise validation_problem(found) from None  # the original quotes the input
    return body


class Checker:
    """Checks customers against one bundle; make one a request. `hash_key` is the deployment's."""

    def __init__(self, bundle: Bundle, hash_key: bytes = b"") -> None:
        self._attributes = AttributeChecker(bundle, lambda name, value: _hashed(name, value, hash_key))
        self._purposes = frozenset(bundle.purposes)
        self._unwanted = frozenset(kind for kind in KINDS if identity_handling(bundle, kind).drop)

    def write(self, customer: str, body: CustomerBody) -> CustomerWrite:
        """The write that a body asks for. Raises Problem: `direct_identifier`, `unknown_attribute`,
        `unknown_purpose`, `invalid_request`."""
        check_key(customer)
        return self._write(customer, body)

    def _write(self, customer: str, body: CustomerBody) -> CustomerWrite:
        mistakes: list[Mistake] = []
        checked = self._attributes.check(body.attributes)
        if checked.undeclared:
            raise Problem("unknown_attribute", "the bundle does not declare " + _named(checked.undeclared))
        mistakes.extend(checked.mistakes)
        preferences = _preferences(body.preferences, mistakes)
        identities = _identities(body.identities, self._unwanted, mistakes)
        for item in body.consent:
            self.check_purpose(item.purpose)
        if mistakes:
            raise invalid(mistakes)
        return CustomerWrite(
            customer,
            checked.stored,
            checked.owners,
            tuple((place, getattr(body, place)) for place in PLACES if place in body.model_fields_set),
            preferences,
            tuple(consent_change(item.purpose, item.channel, item) for item in body.consent),
            identities,
            checked.dropped,
            body.why,
        )

    def line(self, raw: bytes) -> CustomerWrite:
        """A line of an import as a write; raises Problem as `parse` and `write` do."""
        body = parse(LINE, raw)
        about = self.about(body.customer)
        if isinstance(about, Alias):
            return replace(self._write("", body), about=about)
        return self.write(about, body)

    def about(self, customer: str | Mapping[Kind, str]) -> str | Alias:
        """Whom a line is about: a key, or an alias that the store can look up. Raises Problem."""
        found = resolve_reference(
            customer if isinstance(customer, str) else {str(kind): each for kind, each in customer.items()}
        )
        if isinstance(found, Refusal):
            raise Problem(found.code, found.detail)
        if isinstance(found, Alias) and found.kind in self._unwanted:
            raise Problem("invalid_request", f"the bundle collects no `{MATRIX_NAME[found.kind]}` (data.yaml)")
        return found

    def check_purpose(self, purpose: str) -> None:
        if purpose not in self._purposes:
            raise Problem("unknown_purpose", "the bundle's purposes are " + _named(tuple(sorted(self._purposes))))


PLACES: tuple[Literal["region", "timezone", "language"], ...] = ("region", "timezone", "language")


def check_key(customer: str) -> None:
    """Raises Problem for what cannot be a customer key."""
    refusal = key_refusal(customer)
    if refusal is not None:
        raise Problem(refusal.code, refusal.detail)


def consent_change(purpose: str, channel: str, body: _Consent) -> ConsentChange:
    at_ms, expires_ms = unix_ms(body.at), unix_ms(body.expires_at)
    return ConsentChange(purpose, channel, body.state, body.source, body.basis, at_ms, expires_ms)


def unix_ms(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1000)


def invalid(mistakes: list[Mistake]) -> Problem:
    places_found = [{"path": mistake.path, "detail": mistake.detail} for mistake in mistakes]
    return Problem("invalid_request", f"{len(mistakes)} of the values cannot be stored", places_found)


def _preferences(given: Mapping[str, Scalar | None], mistakes: list[Mistake]) -> tuple[tuple[str, str | None], ...]:
    stored: list[tuple[str, str | None]] = []
    for name, value in given.items():
        try:
            if name == BEST_HOURS and value is not None:
                _check_hours(value)
            stored.append((name, None if value is None else scalar_text(value)))
        except ValueError as error:
            mistakes.append(Mistake(f"preferences.{name}", str(error)))
    return tuple(stored)


def _check_hours(value: Scalar) -> None:
    if type(value) is not str or not HOURS.fullmatch(value) or value[:5] == value[6:]:
        raise ValueError("expected hours of the customer's day such as `18:00-21:00`, or over midnight `22:00-01:00`")


def _hashed(name: str, value: str, hash_key: bytes) -> str:
    if not hash_key:
        raise Problem("store_unavailable", "the hash key is not read from the store yet", retry_after_s=1)
    return attribute_hash(name, value, hash_key)


def _identities(given: Mapping[Kind, str], unwanted: frozenset[Kind], mistakes: list[Mistake]) -> tuple[Alias, ...]:
    found = [(kind, alias_of(kind, value)) for kind, value in given.items()]
    mistakes.extend(
        Mistake(f"identities.{kind}", f"the bundle collects no `{MATRIX_NAME[kind]}` (data.yaml): leave it out")
        for kind in given
        if kind in unwanted
    )
    mistakes.extend(Mistake(f"identities.{kind}", alias.detail) for kind, alias in found if isinstance(alias, Refusal))
    return tuple(alias for _, alias in found if isinstance(alias, Alias))


def _named(names: tuple[str, ...]) -> str:
    """Names for a sentence. Cut short: a caller who sends many, or long ones, knows them already."""
    shown = ", ".join(f"`{shown_name(name)}`" for name in names[:NAMED_MAX])
    return shown if len(names) <= NAMED_MAX else f"{shown} and {len(names) - NAMED_MAX} more"
