"""Every key name of the store, and which shard a customer lives in. No other file spells a key.

A customer belongs to one of `shards` by a stable hash of the customer key. All keys of a customer, and the streams of
its shard, carry the same hash tag, so that a decision's read and its commit each touch one cluster slot:

    {s017}:p:<customer>        hash    profile: consent, suppressions, preferences, attributes, versions
    {s017}:f:<customer>        hash    features folded from events
    {s017}:l:<customer>        zset    ledger of contacts
    {s017}:i:<customer>:<key>  string  idempotency record
    {s017}:a:<customer>        set     identity keys that point to the customer
    {s017}:h:<customer>        list    history: what changed about consent, suppressions and region, who and why
    {s017}:m:<customer>        hash    customers who are becoming this one, and how far that is
    {s017}:d:<decision>        string  decision id → customer, for outcomes that come late
    {s017}:o:<decision>        hash    what happened to what was sent, in the slot of the customer it counts for
    {s017}:w:<customer>        hash    what is known of a customer's mail beyond single decisions
    {s017}:decisions           stream  decision log
    {s017}:outcomes            stream  what happened to what was sent, and what each decision earned
    {s017}:due                 zset    decisions that earn something, by when their window closes
    {s017}:watch:<hour>        hash    contacts of an hour by what is known of them, for the deliverability watch
    {s017}:variants            hash    what variants that are compared earned
    {s017}:events              stream  what customers did, as it was collected
    {s017}:dead                stream  what could not be taken of it, and why
    {s017}:worker              hash    who works the shard's events off, and how far that is
    {s017}:seen:<gen>:<bucket> set     64-bit ids of events that were worked off
    id:<kind>:<keyed hash>     string  identity: alias → customer
    idc:<kind>:<keyed hash>    hash    which customers an identity was told together with, and when first
    wht:<hash>                 string  a provider's proof that may be used once, and what for
    pm:<hash>                  string  a provider's id of a mail → decision id
    pmw:<hash>                 hash    what was said of a mail whose decision is not known yet
    pmo:<keyed hash>           set     where what waits so names somebody (recipient or customer): mail and field
    rcp:<keyed hash>           hash    what was said of a recipient who is not known yet
    ctl:…                              small control facts; their own slots

The number of shards is fixed for the life of a deployment (`app.store.deployment.claim_shards` holds it to that).
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

CTL_EVENTS_CONSUMED = b"ctl:events_consumed"  # exists once a worker reads events: from then on none is trimmed unread
CTL_CLAIMS_DUE = b"ctl:claims_due"  # identities whose owner is settled at a time
CTL_ARCHIVE = b"ctl:archive"  # which archive is this store's
CTL_BACKFILLED = b"ctl:backfilled"  # lanes that were filled from history, by shard, and features
CTL_DELIVERABILITY = b"ctl:deliverability"  # what the deliverability watch found last
CTL_DELIVERABILITY_TURN = b"ctl:deliverability_turn"  # whose turn it is to look
CTL_ERASURES = b"ctl:erasures"  # erasures that are not done, by when somebody was last at them
CTL_FIELDS = b"ctl:fields"
CTL_FOLD_PLANS = b"ctl:fold_plans"  # which lanes a digest of a plan stands for
CTL_HASH_KEY = b"ctl:hash_key"
CTL_MERGES = b"ctl:merges"
CTL_SHARDS = b"ctl:shards"
CTL_SWITCHES = b"ctl:switches"
CTL_SWITCHES_LOG = b"{ctl:switches}:log"  # the hash tag puts it beside the switches: one script writes both
CTL_WATERMARKS = b"ctl:watermarks"  # until when events of a type, and of a shard, are complete
CTL_WEBHOOK_PUZZLES = b"ctl:webhook_puzzles"  # stream of what the webhook door did not understand
CTL_WORKERS = b"ctl:workers"  # event workers, by their last sign of life


class CustomerKeys(NamedTuple):
    """The keys of one customer; all hash to one slot."""

    shard: int
    profile: bytes
    features: bytes
    ledger: bytes
    decisions: bytes  # the shard's decision log
    idempotency_prefix: bytes
    decision_prefix: bytes

    def idempotency(self, key_hash: bytes) -> bytes:
        return self.idempotency_prefix + key_hash

    def decision(self, decision_id: bytes) -> bytes:
        return self.decision_prefix + decision_id


class Keys:
    """Key names of a deployment with `shards` shards (≥ 1)."""

    __slots__ = ("_prefixes", "shards")

    def __init__(self, shards: int) -> None:
        if shards < 1:
            raise ValueError("a deployment has at least one shard")
        self.shards = shards
        # The tag of a shard is hashed and joined once, here: `of` is called for every decision.
        self._prefixes = tuple(_prefixes(shard) for shard in range(shards))

    def shard_of(self, customer: str) -> int:
        """CRC-32 (stable across processes, machines and versions, unlike `hash`) of the key, modulo the shards."""
        return crc32(customer.encode()) % self.shards

    def of(self, customer: str) -> CustomerKeys:
        """All keys of a customer."""
        name = customer.encode()
        shard = crc32(name) % self.shards
        profile, features, ledger, decisions, idempotency, decision, _ = self._prefixes[shard]
        return CustomerKeys(
            shard, profile + name, features + name, ledger + name, decisions, idempotency + name + b":", decision
        )

    def profile(self, customer: str) -> bytes:
        name = customer.encode()
        return self._prefixes[crc32(name) % self.shards][0] + name

    def aliases(self, customer: str) -> bytes:
        name = customer.encode()
        return self._prefixes[crc32(name) % self.shards][6] + name

    def history(self, customer: str) -> bytes:
        """What changed about a customer's consent, suppressions and region, in the order in which it was recorded."""
        return b"{s%03d}:h:%b" % (self.shard_of(customer), customer.encode())

    def customer_of_history(self, key: bytes) -> str | None:
        """Whose history lies under a key; None for keys of other things."""
        _, mark, customer = key.partition(b":h:")
        return customer.decode() if mark and key.startswith(b"{") else None

    def customer_of_profile(self, key: bytes) -> str | None:
        """Whose profile lies under a key; None for keys of other things."""
        _, mark, customer = key.partition(b":p:")
        return customer.decode() if mark and key.startswith(b"{") else None

    def merges(self, customer: str) -> bytes:
        """Customers who are becoming this one, and how far that is."""
        return b"{s%03d}:m:%b" % (self.shard_of(customer), customer.encode())

    def decisions(self, shard: int) -> bytes:
        """The decision log of a shard."""
        return self._prefixes[shard][3]

    def outcome_stream(self, shard: int) -> bytes:
        """What happened to what was sent to the shard's customers, and what each decision earned."""
        return b"{s%03d}:outcomes" % shard

    def due(self, shard: int) -> bytes:
        """Decisions whose reward is to be worked out (id in 14 bytes, then the kind of their contact), by when their
        window closes (Unix ms)."""
        return b"{s%03d}:due" % shard

    def watch(self, shard: int, hour: int) -> bytes:
        """How many contacts that were decided in an hour (Unix ms // 3,600,000) became what:
        `<placement>/<message>/<domain class>:<letter>`; the letters are those of `app.core.deliverability`."""
        return b"{s%03d}:watch:%d" % (shard, hour)

    def variants(self, shard: int) -> bytes:
        """What variants of messages earned among the shard's customers: `<message>@<version>.<variant>:n` sends, `:r`
        responses."""
        return b"{s%03d}:variants" % shard

    def events(self, shard: int) -> bytes:
        """What the shard's customers did, as it was collected."""
        return b"{s%03d}:events" % shard

    def dead_letters(self, shard: int) -> bytes:
        """Events that could not be taken, and why."""
        return b"{s%03d}:dead" % shard

    def worker(self, shard: int) -> bytes:
        """Who works the shard's events off, and how far that is."""
        return b"{s%03d}:worker" % shard

    def seen(self, shard: int, generation: int, bucket: int) -> bytes:
        """64-bit ids of events that the shard's worker has seen, in one bucket of one generation."""
        return b"{s%03d}:seen:%d:%d" % (shard, generation, bucket)

    def decision(self, shard: int, decision_id: bytes) -> bytes:
        """Where a decision that was sent keeps its customer; the id itself carries the shard."""
        return self._prefixes[shard][5] + decision_id

    def mail(self, customer: str) -> bytes:
        """What is known of a customer's mail beyond single decisions (outcome.lua describes it)."""
        return b"{s%03d}:w:%b" % (self.shard_of(customer), customer.encode())

    def outcomes(self, shard: int, decision_id: bytes) -> bytes:
        """What happened to what a decision sent. `shard` is that of the customer, who may be another one by now than
        the id's: outcomes lie where they count."""
        return b"{s%03d}:o:%b" % (shard, decision_id)


def identity(kind: str, keyed_hash: str) -> bytes:
    """An alias of a customer; the hash is `app.core.identity.identity_hash`, never the alias in clear."""
    return f"id:{kind}:{keyed_hash}".encode()


def claims(kind: str, keyed_hash: str) -> bytes:
    """Which customers an identity was told together with, and when first."""
    return f"idc:{kind}:{keyed_hash}".encode()


def message(message: bytes) -> bytes:
    """Which decision a provider's id of a mail (`app.core.heard.message_hash`) is of."""
    return b"pm:" + message.hex().encode()


def waiting_for_message(message: bytes) -> bytes:
    """What was said of a mail whose decision is not known yet."""
    return b"pmw:" + message.hex().encode()


def waiting_about(keyed_hash: str) -> bytes:
    """Which entries of `waiting_for_message` name somebody: an erasure finds them by it. The hash is the identity's, of
    `email_sha256`, or `customer_hash`."""
    return b"pmo:" + keyed_hash.encode()


def waiting_for_recipient(keyed_hash: str) -> bytes:
    """What was said of a recipient who is linked to nobody yet; the hash is the identity's, of `email_sha256`."""
    return b"rcp:" + keyed_hash.encode()


def identity_of(key: bytes) -> tuple[str, str] | None:
    """The kind and the keyed hash of an identity, of its alias or of its claims; None for keys of other things."""
    name, _, rest = key.decode().partition(":")
    kind, _, keyed_hash = rest.partition(":")
    return (kind, keyed_hash) if name in ("id", "idc") else None


def erasure(erasure_id: str) -> bytes:
    """How far an erasure is; and its receipt, when it is done."""
    return b"ctl:erasure:" + erasure_id.encode()


#: What `SCAN` finds profiles, and claims of identities, by.
PROFILES = b"{s*}:p:*"
CLAIMS = b"idc:*"


def customer_of_profile(key: bytes) -> str:
    """Whose profile lies under a key."""
    return key.partition(b":p:")[2].decode()


def archive_group(group: int, dataset: str = "events") -> bytes:
    """How far the archive of one stream of a group of shards is, and who writes it."""
    return b"ctl:archive:%d" % group if dataset == "events" else f"ctl:archive:{dataset}:{group}".encode()


def webhook_ticket(hashed: str) -> bytes:
    """What a provider's proof was used for, where it may be used once."""
    return f"wht:{hashed}".encode()


def identity_prefix(kind: str) -> bytes:
    """With what every alias of a kind begins."""
    return f"id:{kind}:".encode()


def claims_prefix(kind: str) -> bytes:
    """With what the claims of every identity of a kind begin."""
    return f"idc:{kind}:".encode()


def budget_window(budget: str, message: str, start_ms: int) -> bytes:
    """How many sends of a budget's window are leased to processes."""
    return f"ctl:budget:{budget}/{message}:{start_ms}".encode()


def bundle(digest: str) -> bytes:
    """A bundle's canonical form, kept so that old records stay readable."""
    return b"ctl:bundle:" + digest.encode()


def _prefixes(shard: int) -> tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes]:
    tag = b"{s%03d}" % shard
    return tag + b":p:", tag + b":f:", tag + b":l:", tag + b":decisions", tag + b":i:", tag + b":d:", tag + b":a:"
