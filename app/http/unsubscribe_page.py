"""The page behind an unsubscribe link: HTML that needs nothing else, no script, no picture, no cookie.

Forms post to the page's own address. The token is in that address: nothing may learn it by a referrer, a cache or a
search engine, so every answer of the route says so.
"""

from __future__ import annotations

import base64
from hashlib import sha256
from html import escape
from types import MappingProxyType

from fastapi import Response

from app.core.preferences import Choice, Preferences
from app.errors import Problem
from app.http.unsubscribe_form import Action
from app.http.unsubscribe_words import Words

STYLE = """
:root{color-scheme:light dark;--page:#f3f4f6;--card:#fff;--ink:#1c2430;--soft:#566072;--line:#dfe3e9;--go:#1f55c4;
--on-go:#fff;--good:#e6f4ea;--good-ink:#14532d;--off:#eceff3}
@media (prefers-color-scheme:dark){:root{--page:#11151b;--card:#1a2029;--ink:#e9edf3;--soft:#a3aebd;--line:#313a47;
--go:#8db4ff;--on-go:#0d1a33;--good:#173424;--good-ink:#b8ecc9;--off:#2a323e}}
*{box-sizing:border-box}
body{margin:0;padding:2.5rem 1rem;background:var(--page);color:var(--ink);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:34rem;margin:0 auto;padding:2rem;background:var(--card);border:1px solid var(--line);border-radius:12px}
h1{margin:0 0 .5rem;font-size:1.6rem;line-height:1.25}
h2{margin:2rem 0 .25rem;padding-top:1.5rem;border-top:1px solid var(--line);font-size:1.1rem}
p{margin:0 0 1rem}
.brand{margin:0 0 1.25rem;color:var(--soft);font-weight:600}
.soft{color:var(--soft);font-size:.9rem;margin:0}
.saved{margin:0 0 1.5rem;padding:.75rem 1rem;border-radius:8px;background:var(--good);color:var(--good-ink)}
ul{list-style:none;margin:0 0 1rem;padding:0}
li{display:flex;flex-wrap:wrap;align-items:center;gap:.5rem 1rem;padding:.9rem 0;border-bottom:1px solid var(--line)}
li div{flex:1 1 9rem}
b{margin-right:.4rem;font-weight:600}
.state{display:inline-block;padding:.05rem .55rem;border-radius:99px;background:var(--off);
color:var(--soft);font-size:.8rem;font-weight:600}
.state.on{background:var(--good);color:var(--good-ink)}
form{margin:0}
button{min-height:2.75rem;padding:.5rem 1.1rem;border:1px solid var(--go);border-radius:8px;background:transparent;
color:var(--go);font:inherit;font-weight:600;cursor:pointer}
button.main{background:var(--go);color:var(--on-go);padding:.6rem 1.6rem}
li button{min-width:8.5rem}
button:hover{filter:brightness(1.08)}
button:focus-visible{outline:3px solid var(--go);outline-offset:3px}
@media (max-width:30rem){body{padding:0}main{min-height:100vh;padding:1.5rem 1.25rem;border:0;border-radius:0}
button.main{width:100%}}
"""
_STYLE_HASH = base64.b64encode(sha256(STYLE.encode()).digest()).decode()

#: Of every answer of the route.
PRIVATE = MappingProxyType(
    {
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-robots-tag": "noindex, nofollow",
    }
)
_PAGE_HEADERS = MappingProxyType(
    {
        **PRIVATE,
        "vary": "accept, accept-language",
        "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'",
    }
)


class Page(str):
    """A whole page as HTML, in `language`."""

    language: str

    def __new__(cls, words: Words, title: str, body: str) -> Page:
        brand = f'<p class="brand">{escape(words.brand)}</p>\n' if words.brand else ""
        title = f"{title} – {words.brand}" if words.brand else title
        page = super().__new__(
            cls,
            f'<!doctype html>\n<html lang="{words.language}">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="robots" content="noindex, nofollow">\n'
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{brand}{body}\n</main>\n</body>\n"
            "</html>\n",
        )
        page.language = words.language
        return page


def response(page: Page, problem: Problem | None = None) -> Response:
    """A page on its way; of a problem, with its status and when to try again."""
    headers = {**_PAGE_HEADERS, "content-language": page.language}
    if problem is not None and problem.retry_after_s is not None:
        headers["retry-after"] = str(problem.retry_after_s)
    status = 200 if problem is None else problem.status
    return Response(page, status, headers, media_type="text/html")


def preferences_page(words: Words, found: Preferences, action: Action | None = None, changed: str = "") -> Page:
    """What can be chosen, below what the link is about; and, after an `action` on the purpose `changed`, what came of
    it."""
    parts = [_saved(words, found, action, changed), _first(words, found)]
    if found.known and not found.stopped:
        rows = "\n".join(_row(words, choice) for choice in found.choices)
        parts += [
            f'<section aria-labelledby="choose"><h2 id="choose">{escape(words.choose)}</h2>',
            f"<ul>\n{rows}\n{_everything(words, found)}</ul>",
            f'<p class="soft">{escape(words.agree)}</p></section>',
        ]
    if not found.stopped:  # what stops all marketing may stop more than that
        parts.append(f'<p class="soft">{_about(words.receipts, words, found)}</p>')
    return Page(words, words.title, "\n".join(part for part in parts if part))


def problem_page(words: Words, problem: Problem) -> Page:
    """A problem for people: what they can do about it."""
    title, more = {
        "invalid_link": (words.bad_link, words.bad_link_more),
        "store_unavailable": (words.busy, words.busy_more),
        "durability_unmet": (words.busy, words.busy_more),
    }.get(problem.code, (words.problem, words.problem_more))
    return Page(words, title, f"<h1>{escape(title)}</h1>\n<p>{escape(more)}</p>")


def _first(words: Words, found: Preferences) -> str:
    """What the link is about: the one button, or that nothing is left to press."""
    if found.stopped:
        title, more, button = words.stopped, words.stopped_more, ""
    elif found.is_on(found.purpose) or not found.known:
        title, more = words.ask, words.ask_more
        button = _button("withdraw", found.purpose, words.unsubscribe, "main")
    else:
        title, more, button = words.done, words.done_more, ""
    return f"<h1>{_about(title, words, found)}</h1>\n<p>{_about(more, words, found)}</p>\n{button}"


def _saved(words: Words, found: Preferences, action: Action | None, changed: str) -> str:
    if action is None:
        return ""
    on = found.is_on(changed)
    if action == "withdraw_all":
        text = words.saved_everything
    elif action == "grant":
        text = words.saved_on if on else words.not_saved
    else:
        text = words.saved_off
    return f'<p class="saved" role="status">{_about(text, words, found, changed)}</p>'


def _row(words: Words, choice: Choice) -> str:
    label = words.label_of(choice.purpose)
    hint = words.hints.get(choice.purpose, "")
    action: Action = "withdraw" if choice.on else "grant"
    text = words.turn_off if choice.on else words.turn_on
    state = f'<span class="state on">{words.on}</span>' if choice.on else f'<span class="state">{words.off}</span>'
    hinted = f'<br><span class="soft">{escape(hint)}</span>' if hint else ""
    return (
        f"<li><div><b>{escape(label)}</b> {state}{hinted}</div>"
        f"{_button(action, choice.purpose, text, '', f'{text}: {label}')}</li>"
    )


def _everything(words: Words, found: Preferences) -> str:
    """One button for all, where it would change something that the first button does not."""
    left = [choice for choice in found.choices if choice.contact and choice.on]
    if len(left) < 2:
        return ""
    text = _about(words.everything, words, found)
    return f"<li><div><b>{text}</b></div>{_button('withdraw_all', '', words.everything_button)}</li>\n"


def _button(action: Action, purpose: str, text: str, kind: str = "", spoken: str = "") -> str:
    """A form of one button; `spoken` says to screen readers what the rows of a table say to eyes."""
    named = f'<input type="hidden" name="purpose" value="{escape(purpose)}">' if purpose else ""
    told = f' aria-label="{escape(spoken)}"' if spoken else ""
    of = f' class="{kind}"' if kind else ""
    return (
        f'<form method="post"><input type="hidden" name="action" value="{action}">{named}'
        f"<button{of}{told}>{escape(text)}</button></form>"
    )


def _about(text: str, words: Words, found: Preferences, purpose: str = "") -> str:
    label, messages = words.label_of(purpose or found.purpose), words.messages_of(found.channel)
    said = text.format(label=label, messages=messages)
    return escape(said[:1].upper() + said[1:])
