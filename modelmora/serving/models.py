"""Which model a request means, and whether it takes these parameters."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping

from modelmora.engines.catalog import EngineEntry, settings_for
from modelmora.errors import Code, RequestError
from modelmora.messages import Parameter, RequestHead
from modelmora.scheduling import ModelKey, ModelSpec
from modelmora.text import did_you_mean, printable


def _version_order(version: str) -> tuple[tuple[bool, int, str], ...]:
    """Sorts versions as people do: 2 before 10."""
    parts = re.findall(r"\d+|\D+", version)
    return tuple((p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts)


class Catalogue:
    """The models served here, with the engine entry of each."""

    def __init__(self) -> None:
        self._models: dict[ModelKey, tuple[ModelSpec, EngineEntry]] = {}
        self._newest: dict[str, ModelKey] = {}
        self._defaults: dict[str, ModelKey] = {}

    def replace(self, models: Iterable[tuple[ModelSpec, EngineEntry]]) -> None:
        """Serve exactly these; the newest version of a name answers for the name alone."""
        self._models = {spec.key: (spec, entry) for spec, entry in models}
        self._newest = {}
        self._defaults = {}
        for key in sorted(self._models, key=lambda key: (key[0], _version_order(key[1]))):
            self._newest[key[0]] = key
        for name in sorted(self._newest):
            key = self._newest[name]
            self._defaults.setdefault(self._models[key][0].task, key)

    def named(self, target: str) -> ModelKey | None:
        """What `name@version`, or `name` for its newest version, stands for."""
        name, _, version = target.partition("@")
        if version:
            return (name, version) if (name, version) in self._models else None
        return self._newest.get(name)

    @property
    def specs(self) -> dict[ModelKey, ModelSpec]:
        """What is served."""
        return {key: spec for key, (spec, _) in self._models.items()}

    def resolve(self, head: RequestHead) -> ModelKey:
        """The model a request means. Raises RequestError (unknown_model, invalid_input).

        (1) `name@version`: exactly that one. (2) `name`: its newest version.
        (3) Empty, with a task: that task's default, its first model by name.
        (4) A task beside a model must be the model's own.
        """
        # (1), (2), (3)
        key = self.named(head.model) if head.model else self._defaults.get(head.task or "")
        if key is None:
            asked = head.model or f"a model for task {head.task!r}"
            near = did_you_mean(head.model.partition("@")[0], self._newest) if head.model else ""
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

    def settings(
        self, key: ModelKey, parameters: Mapping[str, Parameter]
    ) -> Mapping[str, Parameter]:
        """What the request runs with. Raises RequestError for a parameter it does not take."""
        return settings_for(self._models[key][1], parameters)


def batch_key(parameters: Mapping[str, Parameter]) -> Hashable:
    """Equal for requests that may share a group: same parameters, of the same types."""
    if not parameters:
        return ()
    return frozenset((name, type(value), value) for name, value in parameters.items())
