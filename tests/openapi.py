"""Every operation of an OpenAPI document called as it allows, and as it does not."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import CheckContext, not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

ROOT = Path(__file__).parents[1]
INSIDE = re.compile(rb"Traceback|\.py\b|/site-packages/|" + re.escape(os.fsencode(ROOT)))
"""What an answer tells of our code, and where it lies."""


def tells_nothing_of_the_inside(
    _ctx: CheckContext, response: Response, _case: schemathesis.Case[Any]
) -> None:
    """No refusal tells of our files and stacks."""
    if response.status_code >= 400 and (found := INSIDE.search(response.content)):
        raise AssertionError(f"an answer tells {found[0]!r}")


CHECKS = [
    tells_nothing_of_the_inside,
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
EXPLAINED = {"cannot_be_served", "expired"}
"""What may be answered by a 5xx: models are registered by chance that no engine can serve, and
deadlines of a millisecond pass."""
CAP_S = 60


def call_everything(
    url: str, paths: Mapping[str, str], models: Sequence[str], *, examples: int, chance: int
) -> dict[int, int]:
    """So many calls of each operation; how often each status was the answer.

    Half of the calls name what is there: `paths` are the parameters of paths by their names, and
    one of `models` is asked. Raises what Schemathesis finds: 5xx, or an undeclared answer.
    """
    found: dict[int, int] = {}

    def call(case: schemathesis.Case[Any], there: str | None) -> None:
        if there:
            case.path_parameters = {name: paths[name] for name in case.path_parameters or ()}
            if isinstance(case.body, dict) and not case.path.startswith("/models"):
                case.body |= {"model": there} if "model" in case.body else {}
        answer = case.call(timeout=CAP_S)
        found[answer.status_code] = found.get(answer.status_code, 0) + 1
        explained = answer.status_code >= 500 and answer.json().get("code") in EXPLAINED
        case.validate_response(answer, checks=CHECKS[1:] if explained else CHECKS)

    quick = settings(
        max_examples=examples, database=None, suppress_health_check=[*HealthCheck], deadline=None
    )
    for result in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        operation: Any = result
        modes = (operation.ok().as_strategy(mode) for mode in GenerationMode)
        there = st.none() | st.sampled_from(models)
        seed(chance)(quick(given(st.one_of(*modes), there)(call)))()
    return found
