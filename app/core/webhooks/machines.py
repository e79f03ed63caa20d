"""Opens and clicks that no person made, told by the user agent: a second opinion beside the provider's own flag.

What time tells (an open within two seconds of arriving, many links within one) is judged where all outcomes of a
contact are known: app/core/outcomes.py.
"""

from __future__ import annotations

from functools import lru_cache

#: Agents are remembered, since a batch has few: so many, and of each so many characters are looked at.
AGENTS_MAX, AGENT_LENGTH_MAX = 1_024, 512
#: Apple Mail Privacy Protection fetches images with exactly this, and no browser sends so little
#: (https://www.mailgun.com/blog/deliverability/apples-mail-privacy-protection/).
APPLE_PRIVACY = "Mozilla/5.0"
#: Proxies that fetch images for mailbox providers, and scanners that open links before a person can; in lower case. A
#: proxy may fetch when the mail is shown, or long before: what may be a machine is no engagement.
MARKS = (
    "googleimageproxy",
    "ggpht.com",
    "yahoomailproxy",
    "barracuda",
    "mimecast",
    "proofpoint",
    "symantec",
    "trendmicro",
    "fireeye",
    "msexchange",
    "microsoft exchange",
    "bingpreview",
    "googlebot",
    "headlesschrome",
    "phantomjs",
    "python-requests",
    "python-urllib",
    "go-http-client",
    "okhttp",
    "curl/",
    "wget/",
    "java/",
    "libwww-perl",
    "slackbot",
    "facebookexternalhit",
    "linkchecker",
    "crawler",
    "spider",
)


def is_machine(user_agent: str | None) -> bool:
    """Whether an open or click with this user agent is a machine's. An agent that is not told says nothing."""
    return user_agent is not None and _is_marked(user_agent[:AGENT_LENGTH_MAX])


@lru_cache(AGENTS_MAX)
def _is_marked(agent: str) -> bool:
    lower = agent.lower()
    return agent.strip() == APPLE_PRIVACY or any(mark in lower for mark in MARKS)
