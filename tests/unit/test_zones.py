"""Time zones are IANA names wherever one is written: a fixed offset would be an hour off for half of the year."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from app.errors import Problem
from app.http import places
from app.http.decide_body import check_context
from policy.bundle import ContextField
from policy.schema.types import WindowZone, Zone

NO_ZONES = [
    "+02:00", "UTC+1", "GMT+1", "GMT", "GMT0", "Etc/GMT-2", "Etc/UCT", "EST", "EST5EDT", "CET", "Zulu", "Z",
    "Greenwich", "Universal", "Factory", "Europe/Nowhere", "Europe/", "Europe", "posix/Europe/Berlin",
    "posix/Etc/GMT-2", "right/Europe/Berlin", "../Europe/Berlin", "/Europe/Berlin", "Berlin", "",
    " Europe/Berlin", "localtime",
]  # fmt: skip
ZONES = ["Europe/Berlin", "America/Argentina/Buenos_Aires", "Asia/Kolkata", "Australia/Lord_Howe", "US/Eastern", "UTC"]


@pytest.mark.parametrize("zone", NO_ZONES)
def test_what_is_no_iana_zone_is_refused_in_requests_and_in_bundles(zone: str) -> None:
    with pytest.raises(ValueError, match="Europe/Berlin"):
        places.timezone(zone)
    with pytest.raises(Problem) as refused:
        check_context({"timezone": zone}, {"timezone": ContextField("timezone", "timezone")})
    assert (refused.value.code, refused.value.status) == ("invalid_request", 422)
    assert refused.value.errors is not None
    assert refused.value.errors[0]["path"] == "context.timezone"
    assert "Europe/Berlin" in refused.value.errors[0]["detail"]
    for kind in (Zone, WindowZone):
        with pytest.raises(ValidationError, match="not an IANA time zone"):
            TypeAdapter(kind).validate_python(zone)


@pytest.mark.parametrize("zone", ZONES)
def test_an_iana_zone_is_taken_in_requests_and_in_bundles(zone: str) -> None:
    assert places.timezone(zone) == zone
    assert check_context({"timezone": zone}, {"timezone": ContextField("timezone", "timezone")}) == {"timezone": zone}
    assert TypeAdapter(Zone).validate_python(zone) == zone
