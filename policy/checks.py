"""Checks that no file can make alone: whether names exist, and whether parts of different files fit each other."""

from __future__ import annotations

from typing import Any

from policy import (
    catalogue,
    data_checks,
    event_checks,
    feature_checks,
    limit_checks,
    outcome_checks,
    rule_checks,
    time_checks,
)
from policy.findings import Findings
from policy.reading import Reading
from policy.rule_types import did_you_mean
from policy.schema import Documents, offers

#: collection → file, for every collection whose ids must differ.
COLLECTIONS = {
    "attributes": "attributes.yaml",
    "context": "context.yaml",
    "placements": "placements.yaml",
    "messages": "messages.yaml",
    "models": "models.yaml",
    "features": "features.yaml",
    "events": "events.yaml",
    "limits": "limits.yaml",
    "cooldowns": "limits.yaml",
    "exclusions": "limits.yaml",
    "arms": "experiments.yaml",
    "experiments": "experiments.yaml",
    "conversions": "outcomes.yaml",
    "segments": "glossary.yaml",
}


def check(reading: Reading, now_ms: int | None = None, against: Documents | None = None) -> Findings:
    """All findings across the files of a bundle, as far as they could be read. Without a clock, approvals never end."""
    found = Findings(reading)
    for collection, file in COLLECTIONS.items():
        _distinct_ids(found, file, collection)
    _not_empty(found)
    _distinct_facts(found)
    _placements(found)
    _messages(found)
    _models(found)
    _purposes(found)
    feature_checks.check(found)
    event_checks.check(found, against)
    _experiments(found)
    limit_checks.check(found)
    outcome_checks.check(found)
    time_checks.check(found)
    data_checks.check(found, now_ms)
    rule_checks.check(found)
    return found


def _distinct_ids(found: Findings, file: str, collection: str) -> None:
    """Of the file as written, because an item that does not fit may still take a name."""
    tree = found.reading.trees.get(file)
    data = tree.data() if tree else {}
    items = data.get(collection) if isinstance(data, dict) else None
    if not isinstance(items, list):  # of a mapping, ids are keys, and a second one was found when it was read
        return
    for position, item in enumerate(items):
        variants = item.get("variants") if isinstance(item, dict) else None
        if isinstance(variants, list):
            _distinct(found, file, (collection, position, "variants"), variants)
    _distinct(found, file, (collection,), items)


def _distinct(found: Findings, file: str, path: tuple[str | int, ...], items: list[Any]) -> None:
    seen: set[str] = set()
    for position, item in enumerate(items):
        name = item.get("id") if isinstance(item, dict) else None
        if isinstance(name, str) and name in seen:
            message, remedy = f"the id `{name}` is taken", "give one of the two another id"
            found.mistake(file, (*path, position, "id"), "duplicate_id", message, remedy)
        elif isinstance(name, str):
            seen.add(name)


def _not_empty(found: Findings) -> None:
    """Not a check of the file by itself, where an only item that does not fit would count as none."""
    placements, messages = found.documents.placements.placements, found.documents.messages.messages
    for collection, items in (("placements", placements), ("messages", messages)):
        file = COLLECTIONS[collection]
        if not found.ids(collection, items) and file not in found.reading.incomplete:
            found.mistake(file, (collection,), "empty_file", f"a bundle needs {collection}", "add one at least")


def _distinct_facts(found: Findings) -> None:
    attributes = found.ids("attributes", found.documents.attributes.attributes)
    for feature in found.documents.features.features:
        if feature.id in attributes:
            message = f"`customer.{feature.id}` is an attribute already"
            found.mistake("features.yaml", ("features", feature.id), "duplicate_id", message, "rename one of the two")


def _placements(found: Findings) -> None:
    models = found.ids("models", found.documents.models.models)
    for placement in found.documents.placements.placements:
        found.refer("placements.yaml", ("placements", placement.id, "model"), "model", placement.model, models)
        _candidates(found, placement)
        _exploration(found, placement)


def _candidates(found: Findings, placement: offers.Placement) -> None:
    """Every message that a placement names must be one of its candidates, and there must be one."""
    messages = found.documents.messages.messages
    known = found.ids("messages", messages)
    here = ("placements", placement.id)
    own = {message.id for message in messages if placement.id in message.placements}
    own |= found.reading.set_aside.get("messages", set())  # they may name it, once they fit
    if not own and "messages.yaml" not in found.reading.incomplete:
        remedy = f"add `{placement.id}` to the `placements` of a message, or remove the placement"
        found.mistake(
            "placements.yaml", here, "empty_placement", f"no message is in placement `{placement.id}`", remedy
        )
    named: list[tuple[tuple[str | int, ...], str | None]] = [
        ((*here, "default"), placement.default),
        ((*here, "baseline"), placement.baseline),
    ]
    named += [((*here, "rules_order", index), name) for index, name in enumerate(placement.rules_order)]
    named += [((*here, "category_messages", key), name) for key, name in placement.category_messages.items()]
    for path, name in named:
        if found.refer("placements.yaml", path, "message", name, known) and name not in own and own:
            message = f"message `{name}` is not in placement `{placement.id}`"
            remedy = f"add `{placement.id}` to the `placements` of `{name}`, or name another message"
            found.mistake("placements.yaml", path, "not_a_candidate", message, remedy)
    categories = {message.category for message in messages if message.category and placement.id in message.placements}
    for key in placement.category_messages:
        if not found.reading.set_aside.get("messages"):
            path = (*here, "category_messages", key)
            found.refer("placements.yaml", path, "category", key, categories)


def _exploration(found: Findings, placement: offers.Placement) -> None:
    """What is explored needs something to choose from; otherwise nothing happens, which is worth knowing."""
    own = [each for each in found.documents.messages.messages if placement.id in each.placements]
    method, text = placement.explore.method, None
    if method == "thompson" and own and all(len(each.variants) < 2 for each in own):
        text = "thompson compares a message's variants, and no message here has two"
    if method == "softmax" and placement.model is None:
        text = "softmax needs a model's scores, and this placement has none"
    if text and not found.reading.set_aside.get("messages"):
        path = ("placements", placement.id, "explore")
        found.note("placements.yaml", path, "explores_nothing", f"{text}: the best is always chosen")


def _messages(found: Findings) -> None:
    placements = found.ids("placements", found.documents.placements.placements)
    for message in found.documents.messages.messages:
        for index, name in enumerate(message.placements):
            path = ("messages", message.id, "placements", index)
            found.refer("messages.yaml", path, "placement", name, placements)


def _models(found: Findings) -> None:
    for model in found.documents.models.models:
        users = {each.id for each in found.documents.placements.placements if each.model == model.id}
        candidates = [each for each in found.documents.messages.messages if users.intersection(each.placements)]
        for index, name in enumerate(model.inputs):
            path = ("models", model.id, "inputs", index)
            if name in model.inputs[:index]:
                found.mistake("models.yaml", path, "duplicate_input", f"input `{name}` stands twice", "remove one")
            root, _, field = name.partition(".")
            if root == "customer":
                _customer_input(found, path, field, model)
            else:
                _message_input(found, path, field, candidates)


def _customer_input(found: Findings, path: tuple[str | int, ...], name: str, model: offers.Model) -> None:
    facts = {fact.name: fact for fact in catalogue.facts(found.documents)}
    if name not in facts:
        if not {"attributes.yaml", "features.yaml"} & found.reading.incomplete and name not in _facts_set_aside(found):
            remedy = did_you_mean(name, facts, "declare it in attributes.yaml or features.yaml")
            found.mistake("models.yaml", path, "unknown_input", f"unknown input `customer.{name}`", remedy)
        return
    if name in (unreadable := data_checks.unreadable(found.documents)):
        text = f"`customer.{name}` {unreadable[name]} (data.yaml): the model never sees its value"
        found.note("models.yaml", path, "never_seen", text)
    if facts[name].type == "string":
        remedy = "make it an enum, or leave it out"
        found.mistake("models.yaml", path, "text_input", f"`customer.{name}` is free text: no model reads it", remedy)
    if not facts[name].purposes.intersection(model.purposes):
        message = (
            f"model `{model.id}` may not read `customer.{name}`: it serves {', '.join(sorted(facts[name].purposes))}"
        )
        remedy = "remove the input, or add the purpose to the model or to the fact"
        found.mistake("models.yaml", path, "outside_purposes", message, remedy)


def _facts_set_aside(found: Findings) -> set[str]:
    aside = found.reading.set_aside
    return aside.get("attributes", set()) | aside.get("features", set())


def _message_input(found: Findings, path: tuple[str | int, ...], name: str, candidates: list[offers.Message]) -> None:
    """Every candidate must give it; where none does, the input itself is wrong."""
    lacking = [message for message in candidates if name not in message.features]
    every = {feature for message in found.documents.messages.messages for feature in message.features}
    if name not in every and "messages.yaml" not in found.reading.incomplete:
        if not found.reading.set_aside.get("messages"):
            remedy = did_you_mean(name, every, f"add `features: {{{name}: 0}}` to the messages")
            found.mistake("models.yaml", path, "unknown_input", f"no message has the feature `{name}`", remedy)
        return
    for message in lacking:
        where = ("messages", message.id, "features") if message.features else ("messages", message.id)
        text = f"message `{message.id}` lacks the feature `{name}`, which the placement's model reads"
        found.mistake("messages.yaml", where, "missing_feature", text, f"add `{name}: 0` to its `features`")


def _purposes(found: Findings) -> None:
    """Every purpose that is named must be one that customers can consent to."""
    documents, known = found.documents, set(catalogue.purposes(found.documents))
    for file, collection, items in (
        ("attributes.yaml", "attributes", documents.attributes.attributes),
        ("features.yaml", "features", documents.features.features),
        ("models.yaml", "models", documents.models.models),
        ("events.yaml", "events", documents.events.events),
    ):
        for item in items:
            for index, name in enumerate(item.purposes):
                path = (collection, item.id, "purposes", index)
                found.refer(file, path, "purpose", name, known)
    for placement in documents.placements.placements:
        found.refer("placements.yaml", ("placements", placement.id, "purpose"), "purpose", placement.purpose, known)
    for message in documents.messages.messages:
        found.refer("messages.yaml", ("messages", message.id, "purpose"), "purpose", message.purpose, known)
    for code, region in documents.consent.regions.items():
        for index, name in enumerate(region.gpc_denies):
            found.refer("consent.yaml", ("regions", code, "gpc_denies", index), "purpose", name, known)
    for name in documents.consent.page.labels:
        found.refer("consent.yaml", ("page", "labels", name), "purpose", name, known)


def _experiments(found: Findings) -> None:
    _distinct_trials(found)
    placements = found.ids("placements", found.documents.placements.placements)
    for arms in found.documents.experiments.arms:
        for index, name in enumerate(arms.placements):
            if name != "*":
                found.refer("experiments.yaml", ("arms", arms.id, "placements", index), "placement", name, placements)
    for experiment in found.documents.experiments.experiments:
        here = ("experiments", experiment.id)
        found.refer("experiments.yaml", (*here, "placement"), "placement", experiment.placement, placements)
        for arm, choice in experiment.choices.items():
            if arm not in experiment.arms:
                remedy = did_you_mean(arm, experiment.arms, "add it to `arms`")
                found.mistake("experiments.yaml", (*here, "set", arm), "unknown_arm", f"unknown arm `{arm}`", remedy)
            if found.reading.set_aside.get("messages"):
                continue  # the variant may be one of theirs
            variants = _variants_in(found, experiment.placement)
            found.refer("experiments.yaml", (*here, "set", arm, "variant"), "variant", choice.variant, variants)


def _distinct_trials(found: Findings) -> None:
    """Who was seen in which arm is kept under id and salt, of holdouts and experiments alike."""
    taken = {(arms.id, arms.salt) for arms in found.documents.experiments.arms}
    for experiment in found.documents.experiments.experiments:
        if (experiment.id, experiment.salt) in taken:
            message = f"experiment `{experiment.id}` has the id and the salt of a holdout"
            path = ("experiments", experiment.id, "salt")
            found.mistake("experiments.yaml", path, "duplicate_id", message, "give one of the two another salt")


def _variants_in(found: Findings, placement: str) -> set[str]:
    messages = [message for message in found.documents.messages.messages if placement in message.placements]
    return {variant.id for message in messages for variant in message.variants} | {"default"}
