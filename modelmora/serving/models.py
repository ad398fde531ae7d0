"""Which model a request means, and whether it takes these parameters."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace

from modelmora.engines.entries import EngineEntry, settings_for
from modelmora.errors import Code, RequestError
from modelmora.kafka.sizes import check_inputs
from modelmora.messages import Parameter, RequestHead
from modelmora.records.routing import NOBODY, routes
from modelmora.scheduling import ModelKey, ModelSpec
from modelmora.settings.kinds import YEAR_S
from modelmora.text import did_you_mean, printable

KEEP_ALIVE = "keep_alive"
UNTIL_NEEDED = -1


class Catalogue:
    """The models served here, with the engine entry of each."""

    def __init__(self) -> None:
        self._models: dict[ModelKey, tuple[ModelSpec, EngineEntry]] = {}
        self._routes = routes(())
        self._lacking: Mapping[str, str] = NOBODY

    def replace(
        self,
        models: Iterable[tuple[ModelSpec, EngineEntry]],
        active: Mapping[str, str] = NOBODY,
        defaults: Mapping[str, str] = NOBODY,
        lacking: Mapping[str, str] = NOBODY,
    ) -> None:
        """Serve exactly these; `active` and `defaults` as `routing` has them.

        `lacking` is why others that are registered are not served here, by name@version.
        """
        self._lacking = lacking
        self._models = {spec.key: (spec, entry) for spec, entry in models}
        self._routes = routes((spec for spec, _ in self._models.values()), active, defaults)

    def named(self, target: str) -> ModelKey | None:
        """What `name@version` or `name` stands for; see `routing`."""
        name, _, version = target.partition("@")
        if version:
            return (name, version) if (name, version) in self._models else None
        key = self._routes.names.get(name)
        return key if key in self._models else None

    def meant(self, head: RequestHead) -> str:
        """The name@version that a request means, be it served here or elsewhere; "" if unknown."""
        if "@" in head.model:
            return head.model
        routes = self._routes
        key = routes.names.get(head.model) if head.model else routes.tasks.get(head.task or "")
        return "@".join(key or ())

    @property
    def specs(self) -> dict[ModelKey, ModelSpec]:
        """What is served."""
        return {key: spec for key, (spec, _) in self._models.items()}

    def resolve(self, head: RequestHead) -> ModelKey:
        """The model a request means. Raises RequestError (unknown_model, invalid_input).

        (1) `name@version`: exactly that one. (2) `name`, and (3) empty, with a task: see `routing`.
        (4) A task beside a model must be the model's own.
        """
        # (1), (2), (3)
        key = self.named(head.model) if head.model else self._routes.tasks.get(head.task or "")
        if key is None or key not in self._models:
            if (meant := self.meant(head)) in self._lacking:
                raise RequestError(
                    Code.CANNOT_BE_SERVED, f"{meant} is not served here: {self._lacking[meant]}"
                )
            asked = head.model or f"a model for task {head.task!r}"
            near = (
                did_you_mean(head.model.partition("@")[0], self._routes.names) if head.model else ""
            )
            raise RequestError(
                Code.UNKNOWN_MODEL,
                f"{printable(asked[:200])} is not served; see `modelmora list`{near}",
            )
        # (4)
        task = self._models[key][0].task
        if head.task and head.task != task:
            raise RequestError(
                Code.INVALID_INPUT, f"{key[0]} serves task {task}, not {head.task[:96]}"
            )
        return key

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


def batch_key(parameters: Mapping[str, Parameter]) -> Hashable:
    """Equal for requests that may share a group: same parameters, of the same types."""
    if not parameters:
        return ()
    return frozenset((name, type(value), value) for name, value in parameters.items())
