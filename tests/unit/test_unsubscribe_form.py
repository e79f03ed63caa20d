"""What is posted to an unsubscribe link, and in which language its page answers."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.preferences import Choice, Preferences
from app.http.unsubscribe_form import Posted, posted
from app.http.unsubscribe_page import preferences_page
from app.http.unsubscribe_words import ENGLISH, GERMAN, LANGUAGES, of_bundle, words_for

ENCODED = "application/x-www-form-urlencoded"
ONE_CLICK = Posted("one_click")
NOTHING = Posted()
#: RFC 8058, section 8.1.
OF_THE_RFC = b"""-----------------------------41184676334\r
Content-Disposition: form-data; name="List-Unsubscribe"\r
\r
One-Click\r
-----------------------------41184676334--\r
"""


def multipart(**fields: str) -> tuple[str, bytes]:
    """As a real client writes it."""
    request = httpx.Request("POST", "http://localhost", files={name: (None, value) for name, value in fields.items()})
    return request.headers["content-type"], request.read()


def test_one_click_is_known_in_both_forms_of_the_rfc() -> None:
    assert posted(ENCODED, b"List-Unsubscribe=One-Click") == ONE_CLICK
    assert posted(f"{ENCODED}; charset=utf-8", b"List-Unsubscribe=One-Click\r\n") == ONE_CLICK
    boundary = "---------------------------41184676334"
    assert posted(f"multipart/form-data; boundary={boundary}", OF_THE_RFC) == ONE_CLICK
    assert posted(f'Multipart/Form-Data; boundary="{boundary}"', OF_THE_RFC) == ONE_CLICK
    assert posted(*multipart(**{"List-Unsubscribe": "One-Click"})) == ONE_CLICK


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json"])
def test_one_click_counts_whatever_its_content_type_claims(kind: str) -> None:
    assert posted(kind, b"List-Unsubscribe=One-Click") == ONE_CLICK
    assert posted(kind, b"list-unsubscribe=one-click") == ONE_CLICK


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"List-Unsubscribe",
        b"List-Unsubscribe=",
        b"List-Unsubscribe=Two-Click",
        b"One-Click=List-Unsubscribe",
        b"action=explode",
        b"\xff\xfe",
        b"a=1&" * 1_000 + b"List-Unsubscribe=One-Click",
    ],
)
def test_what_is_not_understood_says_nothing(raw: bytes) -> None:
    assert posted(ENCODED, raw) == NOTHING


def test_forms_of_the_page_say_what_and_of_which_purpose() -> None:
    assert posted(ENCODED, b"action=withdraw&purpose=partners") == Posted("withdraw", "partners")
    assert posted(ENCODED, b"action=grant&purpose=") == Posted("grant")
    assert posted(*multipart(action="withdraw_all")) == Posted("withdraw_all")
    assert posted(ENCODED, b"action=withdraw&action=grant") == Posted("withdraw")


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=other", "multipart/x; boundary"]
)
def test_a_multipart_body_that_is_broken_says_nothing(kind: str) -> None:
    assert posted(kind, OF_THE_RFC) == NOTHING
    assert posted(kind, OF_THE_RFC[:80]) == NOTHING


@given(st.sampled_from([ENCODED, "multipart/form-data; boundary=x", "multipart/\x00\xff", ""]), st.binary(max_size=300))
def test_no_body_is_an_error(kind: str, raw: bytes) -> None:
    assert posted(kind, raw).action in (None, "one_click", "withdraw", "withdraw_all", "grant")
    assert posted(kind, b"--x\r\n" + raw + b"\r\n--x--").action != "one_click" or b"ne-" in raw.lower()


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("", "en"),
        ("*", "en"),
        ("fr", "en"),
        ("de", "de"),
        ("DE-at", "de"),
        ("fr, de;q=0.8, en;q=0.7", "de"),
        ("de;q=0.5, en", "en"),
        ("en;q=0.1, de;q=0.2", "de"),
        ("de;q=0, en;q=0", "en"),
        ("de;q=nan, en;q=0.1", "en"),
        ("de;q=x", "en"),
        ("de;q=2, en;q=0.3", "en"),
        (",;,=;q=", "en"),
    ],
)
def test_the_page_speaks_the_language_that_the_browser_prefers(asked: str, language: str) -> None:
    assert words_for(asked).language == language


def test_every_language_has_a_word_for_all_and_names_the_same_things() -> None:
    for words in LANGUAGES.values():
        for name in type(words).__dataclass_fields__.keys() - {"brand"}:  # a bundle's own
            assert getattr(words, name), (words.language, name)
        assert words.messages.keys() == ENGLISH.messages.keys()
        assert words.labels.keys() == ENGLISH.labels.keys()
        for name in ("ask_more", "done_more", "saved_off", "saved_on", "not_saved"):
            assert "{label}" in getattr(words, name)


def test_purposes_without_a_name_of_their_own_are_called_by_their_id() -> None:
    assert ENGLISH.label_of("partner_offers") == "Partner offers"
    assert GERMAN.label_of("marketing") == "Angebote und Neuigkeiten"
    assert ENGLISH.messages_of("carrier_pigeon") == "messages"


def test_a_bundle_names_its_purposes_by_language_and_itself() -> None:
    labels = {
        "offers": {"en": "Weekly offers", "de": "Wochenangebote"},
        "news": {"fr": "Nouvelles"},
        "marketing": {"en": "Mail"},
    }
    english, german = (of_bundle(each, "Example Shop", labels) for each in (ENGLISH, GERMAN))
    assert [each.label_of("offers") for each in (english, german)] == ["Weekly offers", "Wochenangebote"]
    assert [each.label_of("marketing") for each in (english, german)] == ["Mail", "Mail"]
    assert german.label_of("news") == "News"
    assert (german.brand, of_bundle(GERMAN, None, {}).brand) == ("Example Shop", "")
    assert of_bundle(GERMAN, None, {}).label_of("marketing") == GERMAN.label_of("marketing")


def test_the_page_shows_the_brand_and_the_label_escaped() -> None:
    words = of_bundle(ENGLISH, "Shop & <Sons>", {"offers": {"en": "<b>Offers</b>"}})
    page = preferences_page(words, Preferences("offers", "email", (Choice("offers", True, True),)))
    assert '<p class="brand">Shop &amp; &lt;Sons&gt;</p>' in page
    assert "<title>Your preferences – Shop &amp; &lt;Sons&gt;</title>" in page
    assert "&lt;b&gt;Offers&lt;/b&gt;" in page
    assert "<b>Offers</b>" not in page
    assert 'class="brand"' not in preferences_page(ENGLISH, Preferences("offers", "email", ()))
