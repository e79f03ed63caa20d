"""One click, and the page behind the link: over HTTP, with clients as they are."""

from __future__ import annotations

import re
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import httpx
import orjson
import pytest

from tests.support.contract import Caller, consent, problem

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "accept-language": "en"}
#: Tokens that are not ours, in the shapes that damage gives them.
STRANGE = ["nonsense", "1.0.x", "1.0." + "A" * 90, "1.nobody.", "..%2f", "1.0." + "A" * 400, "%00", "1.0.é" + "A" * 60]


def mail(caller: Caller, customer: str = "", placement: str = "weekly", **more: Any) -> tuple[str, dict[str, Any]]:
    """The path of the link that goes with a decision that sends, and the decision."""
    decision = caller.decision(customer or caller.customer(), placement, unsubscribe=True, **more)
    assert decision["action"] == "send"
    return path_of(decision), decision


def path_of(decision: dict[str, Any]) -> str:
    found = re.fullmatch(r"<http://[^/]+(/v1/unsubscribe/[A-Za-z0-9._-]+)>", header_of(decision))
    assert found is not None
    return found[1]


def header_of(decision: dict[str, Any]) -> str:
    return str(decision["list_unsubscribe"]["List-Unsubscribe"])


def clicked(caller: Caller, path: str) -> httpx.Response:
    answer = caller.http.post(path, data=ONE_CLICK)
    assert (answer.status_code, answer.text) == (200, "unsubscribed\n")
    return answer


class Forms(HTMLParser):
    """The forms of a page: what each posts, and the words on its button."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            assert given == {"method": "post"}  # to the page's own address
            self.found.append({})
        elif tag == "input":
            assert given["type"] == "hidden"
            self.found[-1][given["name"]] = given["value"]


def page(caller: Caller, path: str, **headers: str) -> httpx.Response:
    answer = caller.http.get(path, headers=BROWSER | headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return answer


def told_of(caller: Caller, customer: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.http.get(f"/v1/customers/{customer}/history").json()["history"]
    return [each for each in found if each["who"] == "recipient"]


# The headers


def test_a_marketing_send_carries_the_headers_that_a_mail_program_reads(caller: Caller) -> None:
    _, decision = mail(caller)
    message = EmailMessage()
    for name, value in decision["list_unsubscribe"].items():
        message[name] = value
    message.set_content("…")
    assert set(decision["list_unsubscribe"]) == {"List-Unsubscribe", "List-Unsubscribe-Post"}
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert re.fullmatch(r"<https?://[\x21-\x3b\x3d\x3f-\x7e]+>", message["List-Unsubscribe"])
    assert len(header_of(decision).encode()) < 240


def test_only_sends_of_marketing_carry_them(caller: Caller) -> None:
    customer = caller.customer(consent=[consent("personalisation")])
    asked = caller.decisions(customer, "weekly", "receipt", unsubscribe=True)
    assert [each["action"] for each in asked] == ["suppress", "send"]
    assert [each for each in asked if "list_unsubscribe" in each] == []


def test_each_decision_of_an_answer_has_a_link_of_its_own(caller: Caller) -> None:
    first, second = caller.decisions(caller.customer(), "weekly", "push", unsubscribe=True)
    assert header_of(first) != header_of(second)


def test_nobody_gets_them_who_did_not_ask(caller: Caller) -> None:
    customer = caller.customer()
    assert "list_unsubscribe" not in caller.decision(customer)
    assert "list_unsubscribe" not in caller.decision(customer, unsubscribe=False)
    refused = caller.ask(customer, unsubscribe="yes")
    problem(refused, 422, "invalid_request")


def test_all_else_of_the_answer_stays_to_the_byte(caller: Caller) -> None:
    answer = caller.ask(caller.customer(), "weekly", "push", unsubscribe=True, explain=True)
    body = answer.json()
    added = [each.pop("list_unsubscribe") for each in body["decisions"]]
    assert len(added) == 2
    bare = answer.content
    for each in added:
        bare = bare.replace(b',"list_unsubscribe":' + orjson.dumps(each), b"")
    assert bare == orjson.dumps(body)


def test_a_repeat_of_an_idempotency_key_carries_the_same_headers(caller: Caller) -> None:
    customer, keyed = caller.customer(), {"Idempotency-Key": "unsubscribe-1"}
    first = caller.ask(customer, headers=keyed, unsubscribe=True)
    again = caller.ask(customer, headers=keyed, unsubscribe=True)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    assert "list_unsubscribe" in again.json()["decisions"][0]
    problem(caller.ask(customer, headers=keyed), 422, "idempotency_key_reused")


def test_what_is_kept_for_repeats_and_logged_holds_no_link(caller: Caller, store: Any) -> None:
    customer, keyed = caller.customer(), {"Idempotency-Key": "unsubscribe-2"}
    decision = caller.ask(customer, headers=keyed, unsubscribe=True).json()["decisions"][0]
    (kept,) = list(store.scan_iter(f"{{s*}}:i:{customer}:*"))
    assert decision["decision_id"].encode() in store.get(kept)
    assert b"unsubscribe" not in store.get(kept)
    assert "list_unsubscribe" not in caller.record(decision["decision_id"])


def test_lines_of_a_batch_carry_them_where_they_ask(caller: Caller) -> None:
    one, two = caller.customer(), caller.customer()
    lines = [
        {"customer": one, "placements": ["weekly"], "unsubscribe": True, "budget_ms": 2000},
        {"customer": two, "placements": ["weekly"], "budget_ms": 2000},
    ]
    answer = caller.http.post("/v1/decide/batch", content=b"\n".join(map(orjson.dumps, lines)))
    asked, silent = (orjson.loads(line)["decisions"][0] for line in answer.content.splitlines())
    assert "list_unsubscribe" not in silent
    clicked(caller, path_of(asked))
    assert caller.decision(one)["reason"] == "consent_denied"
    assert caller.decision(two)["action"] == "send"


# RFC 8058


def test_one_click_as_form_data_and_urlencoded_is_seen_by_the_next_decision(caller: Caller) -> None:
    forms: list[dict[str, Any]] = [{"files": {"List-Unsubscribe": (None, "One-Click")}}, {"data": ONE_CLICK}]
    for form in forms:
        customer = caller.customer()
        path, _ = mail(caller, customer)
        answer = caller.http.post(path, **form)
        assert (answer.status_code, answer.text) == (200, "unsubscribed\n")
        assert caller.decision(customer)["reason"] == "consent_denied"
        assert caller.decision(customer, "push")["action"] == "send"  # another channel
        assert caller.decision(customer, "receipt")["action"] == "send"


def test_one_click_needs_no_cookie_no_key_and_no_redirect(caller: Caller) -> None:
    path, _ = mail(caller)
    for each in (path, f"{path}/"):
        answer = caller.http.post(each, data=ONE_CLICK, headers={"authorization": "Bearer nonsense", "cookie": "a=b"})
        assert answer.status_code == 200
        assert {"location", "set-cookie", "www-authenticate"} & set(answer.headers) == set()
        assert answer.headers["cache-control"] == "no-store"


def test_pressing_again_is_answered_alike_and_written_once(caller: Caller) -> None:
    customer = caller.customer()
    path, decision = mail(caller, customer)
    for _ in range(3):
        clicked(caller, path)
    (change,) = told_of(caller, customer)
    assert (change["purpose"], change["channel"], change["state"]) == ("marketing", "email", "denied")
    assert (change["source"], change["who"]) == ("one_click", "recipient")
    assert decision["decision_id"] in change["why"]


def test_what_is_asked_for_by_links_is_counted(caller: Caller) -> None:
    def counted(action: str) -> float:
        line = f'unsubscribe_requests_total{{action="{action}"}} '
        return sum(
            float(each.rpartition(" ")[2]) for each in caller.http.get("/metrics").text.splitlines() if line in each
        )

    before = {action: counted(action) for action in ("one_click", "withdraw", "none")}
    path, _ = mail(caller)
    clicked(caller, path)
    caller.http.post(path, data={"action": "withdraw"})
    caller.http.post(path, data={"action": "explode"})
    caller.http.get(path)
    assert {action: counted(action) - before[action] for action in before} == dict.fromkeys(before, 1.0)


def test_scanners_that_follow_links_change_nothing(caller: Caller) -> None:
    customer = caller.customer()
    path, _ = mail(caller, customer)
    for method in ("GET", "HEAD", "GET"):
        answer = caller.http.request(method, path, headers={"sec-purpose": "prefetch", "user-agent": "a scanner"})
        assert answer.status_code == 200
        assert bool(answer.content) == (method == "GET")
        assert caller.http.request(method, f"{path}/?List-Unsubscribe=One-Click&action=withdraw").status_code == 200
    assert caller.http.put(path, data=ONE_CLICK).status_code == 405
    assert caller.decision(customer)["action"] == "send"
    assert told_of(caller, customer) == []


@pytest.mark.parametrize("body", [b"", b"{}", b"hello", b"action=explode", b"List-Unsubscribe=Maybe"])
def test_a_post_that_says_nothing_of_the_kind_shows_the_page(caller: Caller, body: bytes) -> None:
    customer = caller.customer()
    path, _ = mail(caller, customer)
    answer = caller.http.post(path, content=body, headers={"content-type": "application/x-www-form-urlencoded"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert 'role="status"' not in answer.text
    assert caller.decision(customer)["action"] == "send"


@pytest.mark.parametrize("token", STRANGE)
def test_a_token_that_is_not_ours_is_a_problem_for_programs_and_a_page_for_people(caller: Caller, token: str) -> None:
    path = f"/v1/unsubscribe/{token}"
    for method in ("GET", "POST"):
        answer = caller.http.request(method, path)
        if answer.json()["code"] != "not_found":  # a path that is none of this resource
            problem(answer, 404, "invalid_link")
            for_people = caller.http.request(method, path, headers=BROWSER)
            assert (for_people.status_code, "This link does not work" in for_people.text) == (404, True)
        assert token not in answer.text


def test_a_body_is_at_most_64_kib(caller: Caller) -> None:
    path, _ = mail(caller)
    problem(caller.http.post(path, content=b"x" * 65_537), 413, "payload_too_large")
    assert caller.http.post(path, data=ONE_CLICK | {"more": "x" * 60_000}).status_code == 200


def test_one_who_is_unsubscribed_and_then_agrees_again_gets_mail_again(caller: Caller) -> None:
    customer = caller.customer()
    path, _ = mail(caller, customer)
    clicked(caller, path)
    granted = consent("marketing", channel="email")
    del granted["at"]
    assert caller.http.put(f"/v1/customers/{customer}", json={"consent": [granted]}).status_code == 200
    assert caller.decision(customer)["action"] == "send"
    clicked(caller, path)  # the old link counts again, from now on
    assert caller.decision(customer)["reason"] == "consent_denied"


def test_an_import_of_older_consents_does_not_bring_anybody_back(caller: Caller) -> None:
    customer = caller.customer()
    clicked(caller, mail(caller, customer)[0])
    old = [consent("marketing"), consent("marketing", channel="email")]
    assert caller.http.put(f"/v1/customers/{customer}", json={"consent": old}).status_code == 200
    assert caller.decision(customer)["reason"] == "consent_denied"


def test_the_unsubscription_is_told_of_the_decision_once_and_stops_no_channel(caller: Caller, store: Any) -> None:
    customer = caller.customer(consent=[consent("marketing"), consent("partners"), consent("personalisation")])
    path, decision = mail(caller, customer)
    for _ in range(2):
        clicked(caller, path)
    known = caller.http.get(f"/v1/customers/{customer}").json()
    assert known["suppressions"] == []
    assert [each["type"] for each in known["outcomes"]] == ["unsubscribed"]
    entries = [entry for name in store.scan_iter("{s*}:outcomes") for _, entry in store.xrange(name)]
    told = [entry for entry in entries if entry.get(b"d") == decision["decision_id"].encode()]
    assert [(entry[b"t"], entry[b"c"]) for entry in told] == [(b"unsubscribed", customer.encode())]


# The page


def test_the_page_is_whole_by_itself_and_tells_nobody_of_its_address(caller: Caller) -> None:
    answer = page(caller, mail(caller)[0])
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert {"frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"} <= set(policy.split("; "))
    assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")
    assert "noindex" in answer.headers["x-robots-tag"]
    assert "set-cookie" not in answer.headers
    assert not {"script", "img", "link", "iframe", "a"} & Forms(answer.text).tags
    assert not re.search(r"https?://|\bon\w+=|style=", answer.text)


def test_the_page_names_nobody(caller: Caller) -> None:
    customer = caller.customer()
    path, decision = mail(caller, customer)
    text = page(caller, path).text
    assert customer not in text
    assert decision["decision_id"] not in text
    assert path.rpartition("/")[2] not in text


@pytest.mark.parametrize(
    ("asked", "language", "words"), [("de-AT,en;q=0.5", "de", "Abmelden?"), ("fr", "en", "Unsubscribe?")]
)
def test_the_page_speaks_the_reader_s_language(caller: Caller, asked: str, language: str, words: str) -> None:
    answer = page(caller, mail(caller)[0], **{"accept-language": asked})
    assert (answer.headers["content-language"], words in answer.text) == (language, True)
    assert f'<html lang="{language}">' in answer.text


def test_every_button_of_the_page_does_what_it_says(caller: Caller) -> None:
    customer = caller.customer(consent=[consent("marketing"), consent("partners"), consent("personalisation")])
    path, _ = mail(caller, customer)
    buttons = Forms(page(caller, path).text).found
    assert {"action": "withdraw", "purpose": "marketing"} in buttons
    assert {"action": "withdraw", "purpose": "partners"} in buttons
    assert {"action": "withdraw", "purpose": "personalisation"} in buttons
    assert {"action": "withdraw_all"} in buttons
    for button in ({"action": "withdraw", "purpose": "partners"}, {"action": "withdraw", "purpose": "marketing"}):
        answer = caller.http.post(path, data=button, headers=BROWSER)
        assert answer.status_code == 200
        assert 'role="status">Saved:' in answer.text
        assert {**button, "action": "grant"} in Forms(answer.text).found
    assert "You are unsubscribed" in answer.text
    assert caller.decision(customer)["reason"] == "consent_denied"
    answer = caller.http.post(path, data={"action": "grant", "purpose": "marketing"}, headers=BROWSER)
    assert "Saved: “Offers and news” is on." in answer.text
    assert caller.decision(customer)["action"] == "send"
    assert {each["source"] for each in told_of(caller, customer)} == {"unsubscribe_page"}


def test_one_button_turns_all_messages_off_and_leaves_personal_facts_alone(caller: Caller) -> None:
    customer = caller.customer(consent=[consent("marketing"), consent("partners"), consent("personalisation")])
    path, _ = mail(caller, customer)
    answer = caller.http.post(path, data={"action": "withdraw_all"}, headers=BROWSER)
    assert "you get no more marketing emails" in answer.text
    assert {(each["purpose"], each["state"]) for each in told_of(caller, customer)} == {
        ("marketing", "denied"),
        ("partners", "denied"),
    }
    assert {"action": "withdraw", "purpose": "personalisation"} in Forms(answer.text).found


def test_a_purpose_that_the_page_does_not_offer_is_refused(caller: Caller) -> None:
    customer = caller.customer()
    path, _ = mail(caller, customer)
    refused = caller.http.post(path, data={"action": "grant", "purpose": "<b>everything</b>"})
    assert "everything" not in problem(refused, 422, "invalid_request")["detail"]
    assert caller.http.post(path, data={"action": "grant", "purpose": "nothing"}, headers=BROWSER).status_code == 422
    assert told_of(caller, customer) == []


def test_where_all_is_stopped_there_is_nothing_to_press(caller: Caller) -> None:
    customer = caller.customer()
    path, _ = mail(caller, customer)
    stop = {"reason": "complaint", "source": "esp"}
    assert caller.http.put(f"/v1/customers/{customer}/suppressions/email", json=stop).status_code == 200
    text = page(caller, path).text
    assert "You get no marketing emails from us" in text
    assert Forms(text).found == []
