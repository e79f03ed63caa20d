"""One table of route → scope. Fails closed: a route that nobody put in the table needs `admin`."""

from __future__ import annotations

#: Needs no key: probes, the documentation, and what carries its own proof (signed webhooks, unsubscribe tokens).
PUBLIC = "public"

#: (methods, path, scope), first match wins. A path that ends in `/` stands for everything under it, a `*` for one name.
ROUTES: tuple[tuple[str, str, str], ...] = (
    ("GET", "/health/live", PUBLIC),
    ("GET", "/health/ready", PUBLIC),
    ("GET", "/openapi.json", PUBLIC),
    ("GET", "/docs", PUBLIC),
    ("GET", "/docs/", PUBLIC),
    ("GET POST", "/v1/unsubscribe/", PUBLIC),
    ("GET POST", "/v1/webhooks/", PUBLIC),
    ("POST", "/v1/decide", "decide"),
    ("POST", "/v1/decide/batch", "decide"),
    ("GET", "/v1/decisions/", "read"),
    ("POST", "/v1/decisions/", "collect"),
    ("GET", "/v1/customers/*/export", "admin"),  # everything, unmasked
    ("GET", "/v1/customers/", "read"),
    ("PUT POST", "/v1/customers/", "collect"),
    ("POST", "/v1/suppressions/bulk", "collect"),
    ("DELETE", "/v1/customers/", "admin"),  # erases a customer or lifts a suppression
    ("GET", "/v1/erasures/", "read"),
    ("POST", "/v1/events", "collect"),
    ("POST", "/v1/track", "collect"),
    ("POST", "/v1/identify", "collect"),
    ("POST", "/v1/alias", "collect"),
    ("POST", "/v1/page", "collect"),
    ("POST", "/v1/screen", "collect"),
    ("POST", "/v1/group", "collect"),
    ("POST", "/v1/batch", "collect"),
    ("GET", "/v1/bundle", "read"),
    ("GET", "/v1/releases", "read"),
    ("GET", "/v1/releases/", "read"),
    ("GET", "/v1/switches", "read"),
    ("GET", "/v1/switches/", "read"),
    ("PUT", "/v1/switches/", "admin"),
    ("GET", "/v1/deliverability", "read"),
    ("GET", "/metrics", "read"),
)

#: Routes that ask the authenticator themselves, because a layer between costs them time.
#: Or because their clients may send the key in the URL or the body instead.
SELF_CHECKED = frozenset(
    {"/v1/decide", "/v1/events"}
    | {f"/v1/{name}" for name in ("track", "identify", "alias", "page", "screen", "group", "batch")}
)


def required_scope(method: str, path: str) -> str:
    """The scope that a request needs. HEAD needs what GET does."""
    method = "GET" if method == "HEAD" else method
    for methods, route, scope in ROUTES:
        if method in methods.split() and _covers(route, path):
            return scope
    return "admin"


def _covers(route: str, path: str) -> bool:
    if "*" in route:
        before, _, after = route.partition("*")
        name = path.removeprefix(before).removesuffix(after)
        return path.startswith(before) and path.endswith(after) and "/" not in name
    return path == route or (route[-1] == "/" and path.startswith(route))
