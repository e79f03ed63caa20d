"""Regions, time zones and languages as callers may write them.

Regions are ISO 3166-1 alpha-2 codes, alone or with a subdivision (`US-CA`; subdivisions are checked by form only). Time
zones are IANA names. Fixed offsets (`Etc/GMT+5`, `EST`) are refused, because they ignore daylight saving and would put
quiet hours an hour off for half the year; `UTC` and `Etc/UTC` are real choices and accepted. Both lists come from the
`tzdata` package, so that they are the same on every machine. Languages are BCP 47 tags, checked by form.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

SUBDIVISION = re.compile(r"[A-Z0-9]{1,3}")
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,6}")
LANGUAGE_LENGTH_MAX = 35  # what RFC 5646 section 4.4.1 asks implementations to hold
#: Zones without a place: offsets, abbreviations of old systems, and aliases of UTC.
NOT_A_PLACE = re.compile(r"Etc/(?!UTC$).*|(?!UTC$)[A-Z]{3}[A-Z0-9+\-]*|Factory|Greenwich|Universal|Zulu")


def region(text: str) -> str:
    """The region itself; ValueError says what is expected instead."""
    country, dash, subdivision = text.partition("-")
    if country not in _countries() or (dash and not SUBDIVISION.fullmatch(subdivision)):
        raise ValueError("expected an ISO 3166 code such as `US` or `US-CA`")
    return text


def timezone(text: str) -> str:
    """The zone itself; ValueError says what is expected instead."""
    if text not in _zones():
        raise ValueError("expected an IANA time zone such as `Europe/Berlin`, not a fixed offset")
    return text


def language(text: str) -> str:
    """The tag itself; ValueError says what is expected instead."""
    if len(text) > LANGUAGE_LENGTH_MAX or not LANGUAGE.fullmatch(text):
        raise ValueError("expected a BCP 47 language tag such as `en` or `pt-BR`")
    return text


@cache
def _countries() -> frozenset[str]:
    lines = files("tzdata.zoneinfo").joinpath("iso3166.tab").read_text(encoding="utf-8").splitlines()
    return frozenset(line.split("\t")[0] for line in lines if line and not line.startswith("#"))


@cache
def _zones() -> frozenset[str]:
    names = files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(name for name in names if not NOT_A_PLACE.fullmatch(name))
