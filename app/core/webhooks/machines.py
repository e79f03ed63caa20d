"""Opens and clicks that no person made, told by the user agent: a second opinion beside the provider's own flag.

What time tells (an open within two seconds of arriving, many links within one) is judged where all outcomes of a
contact are known: app/core/outcomes.py.
"""

from __future__ import annotations

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
    if user_agent is None:
        return False
    agent = user_agent.strip()
    if agent == APPLE_PRIVACY:
        return True
    lower = agent.lower()
    return any(mark in lower for mark in MARKS)
