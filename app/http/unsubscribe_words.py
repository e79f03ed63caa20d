"""The words of the unsubscribe page, by language. Data: plain text, which the page escapes.

`{label}` is a purpose by name, `{messages}` a channel's messages. A language that is added here is offered at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Words:
    """All that the page says in one language."""

    language: str  # BCP 47
    title: str
    ask: str
    ask_more: str
    unsubscribe: str
    done: str
    done_more: str
    stopped: str
    stopped_more: str
    choose: str
    on: str
    off: str
    turn_on: str
    turn_off: str
    agree: str
    everything: str
    everything_button: str
    receipts: str
    saved_off: str
    saved_on: str
    saved_everything: str
    not_saved: str
    problem: str
    problem_more: str
    bad_link: str
    bad_link_more: str
    busy: str
    busy_more: str
    messages: Mapping[str, str]  # channel → what its messages are called
    labels: Mapping[str, str]  # purpose → its name, where the id would not do
    hints: Mapping[str, str]  # purpose → what it is
    brand: str = ""  # who writes; a bundle's own

    def messages_of(self, channel: str) -> str:
        return self.messages.get(channel, self.messages[""])

    def label_of(self, purpose: str) -> str:
        """A purpose for people; ids are authored as words with `_` between them."""
        return self.labels.get(purpose) or purpose.replace("_", " ").strip().capitalize()


ENGLISH = Words(
    language="en",
    title="Your preferences",
    ask="Unsubscribe?",
    ask_more="You will get no more {messages} from us for “{label}”.",
    unsubscribe="Unsubscribe",
    done="You are unsubscribed",
    done_more="You get no more {messages} from us for “{label}”. One that is on its way may still arrive.",
    stopped="You get no marketing {messages} from us",
    stopped_more="They were stopped altogether. There is nothing that you need to do.",
    choose="What you get",
    on="On",
    off="Off",
    turn_on="Turn on",
    turn_off="Turn off",
    agree="By turning something on you agree to it, until you turn it off.",
    everything="No marketing {messages} at all",
    everything_button="Unsubscribe from all",
    receipts="{messages} about your orders and your account still reach you.",
    saved_off="Saved: “{label}” is off.",
    saved_on="Saved: “{label}” is on.",
    saved_everything="Saved: you get no more marketing {messages}.",
    not_saved="“{label}” could not be turned on.",
    problem="That did not work",
    problem_more="Go back, and try it again.",
    bad_link="This link does not work",
    bad_link_more="A part of it may be missing. Follow the link in the message once more.",
    busy="Please try again in a minute",
    busy_more="We could not save your choice just now.",
    messages=MappingProxyType({"email": "emails", "sms": "text messages", "push": "notifications", "": "messages"}),
    labels=MappingProxyType({"marketing": "Offers and news", "personalisation": "Personal selection"}),
    hints=MappingProxyType({"personalisation": "What you did before decides what we show you."}),
)

GERMAN = Words(
    language="de",
    title="Ihre Einstellungen",
    ask="Abmelden?",
    ask_more="Sie erhalten dann keine {messages} mehr von uns zu „{label}“.",
    unsubscribe="Abmelden",
    done="Sie sind abgemeldet",
    done_more="Sie erhalten keine {messages} mehr von uns zu „{label}“. Was unterwegs ist, kann Sie noch erreichen.",
    stopped="Sie erhalten keine Werbung per {messages} von uns",
    stopped_more="Sie ist ganz abgestellt. Sie müssen nichts weiter tun.",
    choose="Was Sie erhalten",
    on="An",
    off="Aus",
    turn_on="Einschalten",
    turn_off="Ausschalten",
    agree="Was Sie einschalten, dem stimmen Sie zu, bis Sie es ausschalten.",
    everything="Gar keine Werbung per {messages}",
    everything_button="Von allem abmelden",
    receipts="{messages} zu Ihren Bestellungen und Ihrem Konto erreichen Sie weiterhin.",
    saved_off="Gespeichert: „{label}“ ist aus.",
    saved_on="Gespeichert: „{label}“ ist an.",
    saved_everything="Gespeichert: Sie erhalten keine Werbung mehr per {messages}.",
    not_saved="„{label}“ ließ sich nicht einschalten.",
    problem="Das hat nicht geklappt",
    problem_more="Gehen Sie zurück und versuchen Sie es noch einmal.",
    bad_link="Dieser Link funktioniert nicht",
    bad_link_more="Vielleicht fehlt ein Teil davon. Öffnen Sie den Link in der Nachricht noch einmal.",
    busy="Bitte versuchen Sie es gleich noch einmal",
    busy_more="Wir konnten Ihre Wahl gerade nicht speichern.",
    messages=MappingProxyType({"email": "E-Mails", "sms": "SMS", "push": "Mitteilungen", "": "Nachrichten"}),
    labels=MappingProxyType({"marketing": "Angebote und Neuigkeiten", "personalisation": "Persönliche Auswahl"}),
    hints=MappingProxyType({"personalisation": "Was wir Ihnen zeigen, richtet sich nach dem, was Sie bisher taten."}),
)

LANGUAGES: Mapping[str, Words] = MappingProxyType({each.language: each for each in (ENGLISH, GERMAN)})


def of_bundle(words: Words, brand: str | None, labels: Mapping[str, Mapping[str, str]]) -> Words:
    """The words of a bundle that names itself, or its purposes: in this language, else in English, else as they are."""
    own = {name: said for name, by in labels.items() if (said := by.get(words.language) or by.get("en"))}
    return replace(words, brand=brand or "", labels=MappingProxyType({**words.labels, **own}))


def words_for(accept_language: str) -> Words:
    """The language that a browser asks for most (RFC 9110, section 12.5.4), of those that are here; else English."""
    best, best_weight = ENGLISH, 0.0
    for part in accept_language.split(","):
        tag, _, parameter = part.strip().partition(";")
        found = LANGUAGES.get(tag.strip().split("-")[0].lower())
        weight = _weight(parameter)
        if found is not None and weight > best_weight:
            best, best_weight = found, weight
    return best


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        weight = float(value)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
