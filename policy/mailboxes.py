"""Who runs the mailboxes of which domains: classes whose complaints and bounces are looked at together. Pure.

A mailbox provider judges a sender by all of its own domains at once, so these are one class. Domains of companies and
of people are `other`: a domain that one person uses would name that person.

Sources: gmail.com and googlemail.com are Gmail's (https://support.google.com/a/answer/81126); Yahoo and AOL are one
(https://senders.yahooinc.com/faqs/). The others are the domains that providers are known to give addresses in; a bundle
names more, or groups them otherwise. `yahoo.co.jp` is another company's, and stays `other`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from types import MappingProxyType

#: Of an address that no class names; and of an outcome that was told without one.
OTHER, UNKNOWN = "other", "unknown"

_COUNTRIES = (
    "com", "at", "be", "ca", "ch", "cl", "co.id", "co.il", "co.in", "co.kr", "co.nz", "co.th", "co.uk", "co.za",
    "com.ar", "com.au", "com.br", "com.co", "com.hk", "com.mx", "com.my", "com.pe", "com.ph", "com.sg", "com.tr",
    "com.tw", "com.ve", "com.vn", "cz", "de", "dk", "es", "fi", "fr", "gr", "hu", "ie", "in", "it", "lv", "nl", "no",
    "ph", "pl", "pt", "ro", "rs", "ru", "se", "sg", "sk",
)  # fmt: skip


def _everywhere(*brands: str) -> tuple[str, ...]:
    return tuple(f"{brand}.{country}" for brand in brands for country in _COUNTRIES)


_CLASSES: Mapping[str, tuple[str, ...]] = {
    "gmail": ("gmail.com", "googlemail.com"),
    "yahoo": (*_everywhere("yahoo"), "ymail.com", "rocketmail.com", "myyahoo.com", "aol.com", "aol.de", "aol.fr",
              "aol.co.uk", "aol.it", "aol.es", "aim.com"),
    "microsoft": (*_everywhere("outlook", "hotmail", "live"), "msn.com", "windowslive.com", "passport.com"),
    "apple": ("icloud.com", "me.com", "mac.com"),
    "united_internet": ("gmx.de", "gmx.net", "gmx.at", "gmx.ch", "gmx.com", "gmx.org", "gmx.eu", "gmx.fr", "gmx.us",
                        "gmx.co.uk", "web.de", "mail.com"),
    "t_online": ("t-online.de", "magenta.de"),
    "proton": ("proton.me", "protonmail.com", "protonmail.ch", "pm.me"),
    "orange": ("orange.fr", "wanadoo.fr"),
    "free": ("free.fr",),
    "laposte": ("laposte.net",),
    "libero": ("libero.it", "virgilio.it", "inwind.it", "iol.it"),
    "comcast": ("comcast.net",),
    "yandex": ("yandex.ru", "yandex.com", "ya.ru"),
    "mail_ru": ("mail.ru", "bk.ru", "inbox.ru", "list.ru"),
    "netease": ("163.com", "126.com", "yeah.net"),
    "tencent": ("qq.com", "foxmail.com"),
    "naver": ("naver.com",),
    "seznam": ("seznam.cz", "email.cz"),
    "wp": ("wp.pl", "o2.pl"),
}  # fmt: skip

#: Domain → class, where a bundle says nothing else of the domain.
MAILBOXES: Mapping[str, str] = MappingProxyType(
    dict(chain.from_iterable(((domain, name) for domain in domains) for name, domains in _CLASSES.items()))
)


def class_of(address_or_domain: str, classes: Mapping[str, str]) -> str:
    """The class of an address's domain by `classes` (domain → class), else `other`."""
    domain = address_or_domain.rpartition("@")[2].strip().rstrip(".").lower()
    if not domain:
        return UNKNOWN
    return classes.get(domain, OTHER)
