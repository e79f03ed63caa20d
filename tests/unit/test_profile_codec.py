"""The profile hash and the facts that are read from it: what is exact, what is missing, what must never be guessed."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.core.customers import VALUE_BYTES_MAX, AttributeChecker, ConsentChange, CustomerWrite, scalar_text
from app.core.keeping import keeping
from app.store.customer_writes import names_needed
from app.store.fields import FieldRegistry, names_of
from app.store.keys import Keys, identity
from app.store.profile import UnknownField
from app.store.profile_decoder import ProfileDecoder, decode_profile
from policy.codes import SuppressionReason
from policy.facts import ConsentEntry, Contact, ContactKind, Suppression
from tests.support.customers import BUNDLE

NOW_MS = 1_800_000_000_000


def hashed(name: str, value: str) -> str:
    return f"hash of {name} {value}"


def registry(*more: str) -> FieldRegistry:
    """A registry as after a refresh; nothing here reaches a store."""
    known = FieldRegistry(Redis())
    names = [*names_of(BUNDLE), "s:form", "b:consent", *more]
    known.learn((name, b"%d" % i) for i, name in enumerate(names))
    return known


def profile(known: FieldRegistry, **attributes: str) -> list[bytes]:
    flat = [b"!u", b"1", b"!g", b"7", b"!l", b"3", b"!r", b"US-CA", b"!z", b"America/Los_Angeles", b"!n", b"en"]
    flat += [b"@" + known.id_of("o:crm"), b"1700000000000", b"%frequency", b'"weekly"', b"!s", b"1", b"!t", b"5"]
    for name, text in attributes.items():
        flat += [known.id_of("a:" + name), text.encode()]
    return flat


def consent(known: FieldRegistry, value: bytes) -> list[bytes]:
    return [known.id_of("p:marketing") + b"." + known.id_of("c:*"), value]


def granted(known: FieldRegistry) -> bytes:
    return b"g" + known.id_of("b:consent") + b"," + known.id_of("s:form") + b",1700000000000"


def test_a_profile_becomes_the_facts_that_were_written() -> None:
    known = registry()
    reply = profile(known, recency="3", history="142.0", member="true", zip_code='"Rural"', nickname='"J\\u00f6"')
    reply += [*consent(known, granted(known)), b"-email:hard_bounce", b"123," + known.id_of("s:form")]
    contact = Contact(b"d", ContactKind("p", "email", "marketing", "m", "", ""), 1, 1)

    facts = decode_profile(reply, known, BUNDLE, NOW_MS, (contact,))

    assert facts.now_ms == NOW_MS
    assert facts.exists
    assert (facts.region, facts.timezone, facts.language) == ("US-CA", "America/Los_Angeles", "en")
    assert facts.values == {
        "recency": 3, "history": 142.0, "member": True, "zip_code": "Rural", "nickname": "Jö", "newbie": 0
    }  # fmt: skip
    assert {name: type(value) for name, value in facts.values.items()}["history"] is float
    assert facts.as_of_ms == {"crm": 1_700_000_000_000}
    assert facts.consent == (ConsentEntry("marketing", "*", "granted", "consent", "form", 1_700_000_000_000),)
    assert facts.suppressions == (Suppression("email", SuppressionReason.HARD_BOUNCE, 123),)
    assert (facts.general_version, facts.ledger_version) == (7, 3)
    assert facts.contacts == (contact,)


def test_an_empty_reply_is_a_customer_nobody_wrote_about() -> None:
    facts = decode_profile([], registry(), BUNDLE, NOW_MS, ())
    assert not facts.exists
    assert facts.consent == ()
    assert facts.values == {"newbie": 0}
    assert (facts.region, facts.general_version) == (None, 0)


def test_traces_of_contacts_alone_do_not_make_a_known_customer() -> None:
    facts = decode_profile([b"!l", b"1", b"!t", b"5"], registry(), BUNDLE, NOW_MS, ())
    assert not facts.exists
    assert facts.ledger_version == 1


@pytest.mark.parametrize("broken", ["x", "", "1,2", "3.5", '"3"', "true", "null"])
def test_a_value_that_does_not_fit_its_type_is_missing_and_the_others_stay(broken: str) -> None:
    known = registry()
    facts = decode_profile(profile(known, recency=broken, history="1.5"), known, BUNDLE, NOW_MS, ())
    assert facts.values == {"history": 1.5, "newbie": 0}


def test_an_enum_value_that_the_bundle_no_longer_has_is_missing() -> None:
    known = registry()
    facts = decode_profile(profile(known, zip_code='"Moon"', recency="1"), known, BUNDLE, NOW_MS, ())
    assert facts.values == {"recency": 1, "newbie": 0}


def test_a_value_that_does_not_parse_falls_back_to_the_default() -> None:
    known = registry()
    assert decode_profile(profile(known, newbie="x"), known, BUNDLE, NOW_MS, ()).values == {"newbie": 0}
    assert decode_profile(profile(known, newbie="1"), known, BUNDLE, NOW_MS, ()).values == {"newbie": 1}


def test_attributes_of_other_bundles_are_ignored() -> None:
    known = registry("a:from_another_bundle")
    reply = profile(known, recency="3", from_another_bundle="4")
    assert decode_profile([*reply, b"zzz", b"5"], known, BUNDLE, NOW_MS, ()).values == {"recency": 3, "newbie": 0}


def test_consent_that_cannot_be_read_is_never_passed_over() -> None:
    known = registry()
    p, c = known.id_of("p:marketing"), known.id_of("c:*")
    b, s = known.id_of("b:consent"), known.id_of("s:form")
    whole = b"d" + b + b"," + s + b",1"
    assert decode_profile([p + b"." + c, whole], known, BUNDLE, NOW_MS, ()).consent[0].state == "denied"
    for field, value in [
        (b"zz." + c, whole),
        (p + b".zz", whole),
        (s + b"." + c, whole),
        (p + b"." + c, b"x" + whole[1:]),
        (p + b"." + c, b"dzz," + s + b",1"),
        (p + b"." + c, b"d" + b + b",zz,1"),
        (p + b"." + c, b"d" + b + b"," + s + b",soon"),
        (p + b"." + c, b""),
    ]:
        with pytest.raises(UnknownField):
            decode_profile([field, value], known, BUNDLE, NOW_MS, ())


def test_a_suppression_of_a_reason_yet_unknown_is_never_passed_over() -> None:
    with pytest.raises(UnknownField):
        decode_profile([b"-*:a_later_reason", b"1,2"], registry(), BUNDLE, NOW_MS, ())


def test_a_suppression_without_a_readable_time_still_holds() -> None:
    facts = decode_profile([b"-*:manual", b"?"], registry(), BUNDLE, NOW_MS, ())
    assert facts.suppressions == (Suppression("*", SuppressionReason.MANUAL, 0),)


def test_a_reply_cut_between_field_and_value_is_refused() -> None:
    known = registry()
    with pytest.raises(ValueError, match="odd"):
        decode_profile(profile(known, recency="3")[:-1], known, BUNDLE, NOW_MS, ())


def test_before_the_registry_is_read_nothing_is_decoded() -> None:
    with pytest.raises(UnknownField):
        decode_profile([], FieldRegistry(Redis()), BUNDLE, NOW_MS, ())


def test_a_decoder_follows_what_the_registry_learns() -> None:
    known = registry()
    decoder = ProfileDecoder(BUNDLE, known)
    reply = [known.id_of("p:marketing") + b".new", granted(known)]
    with pytest.raises(UnknownField):
        decoder.decode(reply, NOW_MS, ())
    known.learn([("c:push", b"new")])
    assert decoder.decode(reply, NOW_MS, ()).consent[0].channel == "push"
    assert decoder.decode([b"@later", b"5"], NOW_MS, ()).as_of_ms == {}
    known.learn([("o:web", b"later")])
    assert decoder.decode([b"@later", b"5"], NOW_MS, ()).as_of_ms == {"web": 5}


def test_a_decoder_keeps_customers_apart_that_lie_alike() -> None:
    known = registry()
    decoder = ProfileDecoder(BUNDLE, known)
    first = decoder.decode(profile(known, recency="3", history="1.0"), NOW_MS, ())
    second = decoder.decode(profile(known, recency="4", history="2.0"), NOW_MS, ())
    assert (first.values["recency"], second.values["recency"]) == (3, 4)
    assert first.values["history"] == 1.0


json_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80)


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first draw of text builds tables of Unicode
@given(st.dictionaries(st.sampled_from([fact.name for fact in BUNDLE.facts]), json_scalars))
def test_every_attribute_that_is_accepted_is_read_back_with_its_type_and_fits_64_bytes(
    given_: dict[str, object],
) -> None:
    known = registry()
    checked = AttributeChecker(BUNDLE, hashed).check(given_)
    stored = {name: text for name, text in checked.stored if text is not None}
    assert all(len(text.encode()) <= VALUE_BYTES_MAX for text in stored.values())
    refused = {mistake.path.removeprefix("attributes.") for mistake in checked.mistakes}
    assert refused | {name for name, _ in checked.stored} == set(given_)

    values = decode_profile(profile(known, **stored), known, BUNDLE, NOW_MS, ()).values

    assert {name: values[name] for name in stored} == {name: given_[name] for name in stored}
    fact_types = {"int": int, "float": float, "bool": bool, "enum": str, "string": str}
    assert all(type(values[name]) is fact_types[BUNDLE.fact_by_name[name].type] for name in stored)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recency", "3"),
        ("recency", True),
        ("recency", 3.5),
        ("recency", 121),
        ("recency", -1),
        ("history", float("nan")),
        ("history", float("inf")),
        ("history", 10**400),
        ("history", True),
        ("member", 1),
        ("zip_code", "Moon"),
        ("zip_code", 3),
        ("nickname", "x" * 41),
        ("nickname", "ö" * 40),
        ("nickname", "\ud800"),
        ("nickname", ["x"]),
    ],
)
def test_a_value_outside_its_declaration_is_a_mistake_that_does_not_repeat_it(name: str, value: object) -> None:
    checked = AttributeChecker(BUNDLE, hashed).check({name: value})
    (mistake,) = checked.mistakes
    assert mistake.path == f"attributes.{name}"
    assert checked.stored == ()
    assert str(value) not in mistake.detail or name == "recency"


def test_undeclared_attributes_and_features_are_named() -> None:
    feature = dataclasses.replace(BUNDLE.facts[0], name="views", kind="feature")
    bundle = dataclasses.replace(BUNDLE, facts=(*BUNDLE.facts, feature))
    assert AttributeChecker(bundle, hashed).check({"recensy": 1, "views": 2}).undeclared == ("recensy", "views")


def test_a_scalar_longer_than_64_bytes_is_refused() -> None:
    assert len(scalar_text("x" * 62)) == 64
    with pytest.raises(ValueError, match="62 bytes"):
        scalar_text("x" * 63)


def test_a_write_names_all_ids_that_it_needs() -> None:
    change = ConsentChange("marketing", "email", "granted", "form", "consent", None)
    write = CustomerWrite("c", (("recency", "3"), ("history", None)), ("crm",), consents=(change,))
    assert names_needed([write], keeping(BUNDLE), "key_1") == {
        "a:recency", "a:history", "o:crm", "p:marketing", "c:email", "s:form", "b:consent", "w:key_1"
    }  # fmt: skip


def test_all_keys_of_a_customer_carry_one_hash_tag_and_never_change() -> None:
    keys = Keys(256)
    names = keys.of("cus_1")
    assert names.profile == b"{s134}:p:cus_1"  # CRC-32 of `cus_1` modulo 256: written down, since stores hold it
    assert names.shard == 134
    assert names.features == b"{s134}:f:cus_1"
    assert names.ledger == b"{s134}:l:cus_1"
    assert names.decisions == b"{s134}:decisions" == keys.decisions(134)
    assert names.idempotency(b"abc") == b"{s134}:i:cus_1:abc"
    assert names.decision(b"dec_1") == b"{s134}:d:dec_1" == keys.decision(134, b"dec_1")
    assert keys.profile("cus_1") == names.profile
    assert keys.aliases("cus_1") == b"{s134}:a:cus_1"
    assert Keys(2000).of("cus_1").profile.startswith(b"{s")
    assert identity("user_id", "ff") == b"id:user_id:ff"


@given(st.text("abc019_-", min_size=1, max_size=64), st.integers(1, 5000))
def test_every_customer_has_one_shard_of_those_there_are(customer: str, shards: int) -> None:
    keys = Keys(shards)
    assert 0 <= keys.shard_of(customer) < shards
    assert keys.of(customer).shard == keys.shard_of(customer)
