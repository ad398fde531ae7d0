"""Which model answers: the one that was named, if it suits, else the default of what suits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelmora.errors import Code
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import RegistryRecord
from modelmora.records import Registry
from modelmora.records.facts import facts_of
from modelmora.routing import routes
from modelmora.text import did_you_mean, printable, shorten

SHOWN = 120
DEFAULT = "default"
READS_IMAGES = "reads_images"


@dataclass(frozen=True, slots=True)
class Suit:
    """What a model must be: of this task, and with `eyes` one that reads images."""

    task: str
    eyes: bool = False

    def fits(self, record: RegistryRecord) -> bool:
        """Whether the model is so."""
        return record.task == self.task and (not self.eyes or reads_images(record))

    def __str__(self) -> str:
        return f"{self.task} that reads images" if self.eyes else self.task


def reads_images(record: RegistryRecord) -> bool:
    """Whether a text model takes images beside its text, by its files or its metadata."""
    return facts_of(record).get(READS_IMAGES) is True


def address_of(record: RegistryRecord) -> str:
    """The model with its version, as it is asked for."""
    return f"{record.name}@{record.version}"


def asked_for(record: RegistryRecord, named: str) -> str:
    """How to ask for the chosen model: with its version only where the caller has named one.

    Else its name's route chooses among versions, which only nodes do: so one id has one version,
    whichever gateway it comes by.
    """
    return address_of(record) if "@" in named else record.name


def choose(state: Registry, suits: Sequence[Suit], named: str) -> RegistryRecord:
    """The model for a request; `named` is `name`, `name@version` or empty. Raises Refusal."""
    if named:
        return _named(state, suits, named)
    for suit in suits:
        if found := default_of(state, suit):
            return found
    raise Refusal(
        Code.UNKNOWN_MODEL, f"no model is named, and none of task {_either(suits)} is served"
    )


def named_or_default(state: Registry, suits: Sequence[Suit], named: str) -> str:
    """The model to ask, as it was named; the default's name, where none was.

    `DEFAULT` names none, unless a model is called so. Raises Refusal.
    """
    if named == DEFAULT and all(record.name != DEFAULT for record in state.models()):
        named = ""
    return named or choose(state, suits, "").name


def default_of(state: Registry, suit: Suit) -> RegistryRecord | None:
    """The model that answers where none is named; None where none suits.

    It is the default of the task if that fits, else the first by name that does.
    """
    models = state.models()
    answering = routes(models, state.active(), state.defaults())
    there = {record.key: record for record in models}
    first = answering.tasks.get(suit.task)
    keys = [*([first] if first else []), *(key for _, key in sorted(answering.names.items()))]
    return next((there[key] for key in keys if key in there and suit.fits(there[key])), None)


def _named(state: Registry, suits: Sequence[Suit], named: str) -> RegistryRecord:
    models = state.models()
    name, at, version = named.partition("@")
    key = (name, version) if at else routes(models, state.active()).names.get(name)
    found = next((record for record in models if record.key == key), None)
    if found is None:
        near = did_you_mean(name, {record.name for record in models})
        shown = shorten(printable(named), SHOWN)
        raise Refusal(Code.UNKNOWN_MODEL, f"{shown} is not served; see GET /models{near}")
    if not any(suit.fits(found) for suit in suits):
        raise Refusal(
            Code.INVALID_INPUT,
            f"{address_of(found)} is of task {found.task}; this needs one of {_either(suits)}",
        )
    return found


def _either(suits: Sequence[Suit]) -> str:
    return " or ".join(map(str, suits))
