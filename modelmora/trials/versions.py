"""Which two versions are compared, and what the registry says of them."""

from __future__ import annotations

from dataclasses import dataclass

from modelmora.comparing import Needs
from modelmora.diagnostics.nodes import read_registry
from modelmora.errors import ConfigurationError, ModelMoraError, NotFound
from modelmora.kafka.leases import Leases
from modelmora.kafka.reading.shown import Reader
from modelmora.records import Registry
from modelmora.records.measured import of_model
from modelmora.settings import Settings
from modelmora.text import did_you_mean, shorten

MOST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model, as the registry tells it; `unserved` says why no node has it."""

    name: str
    version: str
    task: str
    needs: Needs
    unserved: str | None

    @property
    def model(self) -> str:
        """name@version."""
        return f"{self.name}@{self.version}"

    def must_be_served(self) -> None:
        """Raises ModelMoraError where no node that runs could answer."""
        if self.unserved is not None:
            raise ModelMoraError(self.unserved)


@dataclass(frozen=True, slots=True)
class Trial:
    """What is compared with what."""

    baseline: Version
    candidate: Version


def read_trial(reader: Reader, settings: Settings, model: str, against: str | None) -> Trial:
    """The candidate `model` and what it is compared with, as the registry knows them.

    Without `against` that is the version which answers most of what asks for the name. Raises
    ConfigurationError, NotFound, and what Reader does.
    """
    name, version = _parts(model)
    leases, state = read_registry(reader, settings)
    candidate = _version(leases, state, name, version)
    if against is None:
        chosen = state.active().get(name)
        if chosen in (None, version):
            told = f"{model} answers for {name}" if chosen else f"no version answers for {name}"
            raise ConfigurationError(f"{told}; name another with --against {name}@VERSION")
        against = f"{name}@{chosen}"
    other, before = _parts(against)
    if other != name:
        raise ConfigurationError(
            f"--against {against} must be a version of {name}: the requests are of one model"
        )
    if before == version:
        raise ConfigurationError(f"--against {against} is the version that is compared")
    return Trial(_version(leases, state, name, before), candidate)


def _parts(model: str) -> tuple[str, str]:
    name, at, version = model.partition("@")
    if not (name and at and version):
        raise ConfigurationError(
            f"{model or 'an empty name'} names no version; it is NAME@VERSION, see `modelmora list`"
        )
    return name, version


def _version(leases: Leases, state: Registry, name: str, version: str) -> Version:
    found = state.model(name, version)
    model = f"{name}@{version}"
    served = [node for node in leases.living() if model in node.serves]
    if found is None and not served:
        raise NotFound(f"there is no model {model}{_near(state, name)}")
    task = found.record.task if found else served[0].serves[model]
    needs = _needs(state, (name, version))
    return Version(name, version, task, needs, None if served else _why(leases, model))


def _near(state: Registry, name: str) -> str:
    """What may have been meant: the versions that there are of a name, or another name."""
    versions = [each.version for each in state.models() if each.name == name]
    if versions:
        return f"; of {name} there is {shorten(', '.join(versions), MOST_SHOWN)}"
    meant = did_you_mean(name, {each.name for each in state.models()})
    return meant or "; see `modelmora list`"


def _why(leases: Leases, model: str) -> str:
    """Why nobody serves it."""
    if not leases.living():
        return f"no node runs, so {model} cannot be asked; start one with `modelmora serve`"
    reasons = [node.failed[model] for node in leases.living() if model in node.failed]
    told = f": {reasons[0]}" if reasons else ""
    return f"no node that runs serves {model}{told}; see `modelmora ps --all`"


def _needs(state: Registry, key: tuple[str, str]) -> Needs:
    """The most that any node has measured."""
    measured = [each for _, each in of_model(state, key)]
    held = [taken.most for each in measured for taken in each.devices.values()]
    loads = [each.load_ms for each in measured if each.load_ms is not None]
    return Needs(
        max((ram for ram, _ in held), default=0) or None,
        max((gpu for _, gpu in held), default=0) or None,
        max(loads, default=None),
    )
