"""Which model a request means, and whether it takes these parameters."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

from modelmora.engines.entries import EngineEntry, settings_for
from modelmora.errors import Code, RequestError
from modelmora.kafka.sizes import check_inputs
from modelmora.messages import Parameter, RequestHead
from modelmora.routing import NOBODY, Asking, Steps, choose, main_version, routes
from modelmora.scheduling import ModelKey, ModelSpec
from modelmora.settings.kinds import YEAR_S
from modelmora.text import did_you_mean, printable

KEEP_ALIVE = "keep_alive"
AS_BEFORE = "as before"
"""Why a version answers that has answered an earlier run of the id."""
NO_MODEL = ("", "")
NO_STEPS: Mapping[str, Steps] = {}
UNTIL_NEEDED = -1


def no_routes() -> Mapping[str, Steps]:
    """Nobody has said how any name is answered."""
    return NO_STEPS


class Asked(Asking, Protocol):
    """What is looked at of a request to find the model that it means."""

    @property
    def head(self) -> RequestHead:
        """What it asks."""

    @property
    def answered_by(self) -> str:
        """The version that a former run of its id has ended with; "" where there was none."""


class Meant(NamedTuple):
    """The model that answers a request, and why that version of several; "" where it is named."""

    key: ModelKey
    reason: str = ""


class Catalogue:
    """The models served here, with the engine entry of each."""

    def __init__(self) -> None:
        self._models: dict[ModelKey, tuple[ModelSpec, EngineEntry]] = {}
        self._routes = routes(())
        self._told: Callable[[], Mapping[str, Steps]] = no_routes
        self._lacking: Mapping[str, str] = NOBODY

    def replace(
        self,
        models: Iterable[tuple[ModelSpec, EngineEntry]],
        told: Callable[[], Mapping[str, Steps]] = no_routes,
        defaults: Mapping[str, str] = NOBODY,
        lacking: Mapping[str, str] = NOBODY,
    ) -> None:
        """Serve exactly these; `told` tells how each name is answered at which time.

        It is asked at each request, for a change counts whether models have been looked at since or
        not. `defaults` as `routing` has them; `lacking` is why others that are registered are not
        served here, by name@version.
        """
        self._lacking, self._told = lacking, told
        self._models = {spec.key: (spec, entry) for spec, entry in models}
        active = {name: main_version(each[-1][1]) for name, each in told().items()}
        self._routes = routes((spec for spec, _ in self._models.values()), active, defaults)

    def named(self, target: str) -> tuple[ModelKey, ...]:
        """What `name@version` or `name` stands for here; see `arms`."""
        return tuple(key for key in self.arms(target) if key in self._models)

    def arms(self, target: str) -> tuple[ModelKey, ...]:
        """What `name@version` or `name` stands for, here or elsewhere.

        Of a name all versions that answer for it.
        """
        name, _, version = target.partition("@")
        if version:
            return ((name, version),)
        if steps := self._told().get(name):
            return tuple((name, each) for each in sorted(steps[-1][1].versions))
        key = self._routes.names.get(name)
        return (key,) if key else ()

    def meant(self, asked: Asked) -> str:
        """The name@version that a request means, be it served here or elsewhere; "" if unknown."""
        found = self._meant(asked)
        return "@".join(found.key) if found else ""

    def _meant(self, asked: Asked) -> Meant | None:
        """What a request means, here or elsewhere.

        (1) `name@version`: exactly that one. (2) Empty, with a task: the name that answers for it.
        (3) `name`: what has run before is answered by the same version again, (4) all else as its
        route says, (5) or, where it has none, by the version that `routing` finds.
        """
        head = asked.head
        name, _, version = head.model.partition("@")
        # (1)
        if version:
            return Meant((name, version))
        # (2)
        if not head.model:
            name = self._routes.tasks.get(head.task or "", NO_MODEL)[0]
        # (3)
        steps = self._told().get(name, ())
        before = asked.answered_by
        if before and any(before in route.versions for _, route in steps):
            return Meant((name, before), AS_BEFORE)
        # (4)
        if steps:
            chosen = choose(name, steps, asked)
            return Meant((name, chosen.version), chosen.reason)
        # (5)
        key = self._routes.names.get(name)
        return Meant(key) if key else None

    @property
    def specs(self) -> dict[ModelKey, ModelSpec]:
        """What is served."""
        return {key: spec for key, (spec, _) in self._models.items()}

    def resolve(self, asked: Asked) -> Meant:
        """The model a request means. Raises RequestError (unknown_model, invalid_input).

        A task beside a model must be the model's own.
        """
        head, found = asked.head, self._meant(asked)
        if found is None or found.key not in self._models:
            if (meant := "@".join(found.key) if found else "") in self._lacking:
                raise RequestError(
                    Code.CANNOT_BE_SERVED, f"{meant} is not served here: {self._lacking[meant]}"
                )
            what = head.model or f"a model for task {head.task!r}"
            if found and found.reason:
                what = f"{meant}, which answers this request for {found.key[0]},"
            near = (
                did_you_mean(head.model.partition("@")[0], self._routes.names) if head.model else ""
            )
            raise RequestError(
                Code.UNKNOWN_MODEL,
                f"{printable(what[:200])} is not served; see `modelmora list`{near}",
            )
        name, task = found.key[0], self._models[found.key][0].task
        if head.task and head.task != task:
            raise RequestError(
                Code.INVALID_INPUT, f"{name} serves task {task}, not {head.task[:96]}"
            )
        return found

    def settings(self, key: ModelKey, head: RequestHead) -> Mapping[str, Parameter]:
        """What the request runs with. Raises RequestError.

        For a parameter that the model does not take, and for more inputs than one result holds.
        """
        spec, entry = self._models[key]
        check_inputs(head.inputs, spec.max_inputs)
        return settings_for(entry, head.parameters)


def take_keep_alive(head: RequestHead) -> tuple[RequestHead, float | None]:
    """The request without its parameter `keep_alive`, and that (s); None where it has none.

    It steers the node, so no engine sees it and no group is split for it. Raises RequestError.
    """
    if KEEP_ALIVE not in head.parameters:
        return head, None
    parameters = dict(head.parameters)
    given = parameters.pop(KEEP_ALIVE)
    number = given if isinstance(given, int | float) and not isinstance(given, bool) else None
    if number is not None and (number == UNTIL_NEEDED or 0 <= number <= YEAR_S):
        return replace(head, parameters=parameters), float(number)
    message = f"parameter `{KEEP_ALIVE}` is a number of seconds, or -1: until memory is needed"
    raise RequestError(Code.INVALID_INPUT, message)


def batch_key(parameters: Mapping[str, Parameter], *, copy: bool = False) -> Hashable:
    """Equal for requests that may share a group: same parameters, of the same types.

    A copy shares one with nobody who waits.
    """
    if copy:
        return "copy", batch_key(parameters)
    if not parameters:
        return ()
    return frozenset((name, type(value), value) for name, value in parameters.items())
