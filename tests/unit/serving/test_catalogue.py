"""The catalogue: which model a name, a version or a task means, and what parameters it takes."""

from __future__ import annotations

import pytest

from modelmora.engines.catalog import CATALOG, entry_for
from modelmora.engines.entries import first_request, with_defaults
from modelmora.errors import Code, RequestError
from modelmora.messages import Parameter, RequestHead
from modelmora.routing import alone
from modelmora.scheduling import ModelKey, ModelSpec
from modelmora.serving import Catalogue
from modelmora.serving.models import AS_BEFORE, batch_key
from modelmora.settings.routes import Route
from modelmora.testing.fakes import UNIX_MS, FakeRecord, incoming
from modelmora.wire import id_of_name


def catalogue(*models: tuple[str, str, str]) -> Catalogue:
    made = Catalogue()
    served = []
    for name, version, task in models:
        entry = entry_for(task, testing=True)
        assert entry is not None
        served.append((ModelSpec(name, version, task, entry.engine, "/m", 1, False), entry))
    made.replace(served)
    return made


SERVED = catalogue(
    ("b", "1", "echo"),
    ("b", "10", "echo"),
    ("b", "9", "echo"),
    ("a", "2024-x", "sleep"),
    ("c", "1", "sleep"),
)


@pytest.mark.parametrize(
    ("model", "task", "found"),
    [
        ("b@9", None, ("b", "9")),
        ("b", None, ("b", "1")),
        ("b", "echo", ("b", "1")),
        ("", "echo", ("b", "1")),
        ("", "sleep", ("a", "2024-x")),
    ],
)
def test_what_is_meant(model: str, task: str | None, found: ModelKey) -> None:
    assert SERVED.resolve(incoming("r", model, task=task)) == (found, "")


@pytest.mark.parametrize(
    ("model", "task", "code"),
    [
        ("x", None, Code.UNKNOWN_MODEL),
        ("b@2", None, Code.UNKNOWN_MODEL),
        ("", None, Code.UNKNOWN_MODEL),
        ("", "txt2img", Code.UNKNOWN_MODEL),
        ("@", "echo", Code.UNKNOWN_MODEL),
        ("b", "sleep", Code.INVALID_INPUT),
    ],
)
def test_what_is_refused(model: str, task: str | None, code: Code) -> None:
    with pytest.raises(RequestError) as refused:
        SERVED.resolve(incoming("r", model, task=task))
    assert refused.value.code is code


def test_a_name_with_nothing_behind_its_at_is_the_name_alone() -> None:
    assert SERVED.named("b@") == (("b", "1"),)
    assert SERVED.resolve(incoming("r", "b@")).key == ("b", "1")


def test_what_was_served_before_is_not_served_now() -> None:
    made = catalogue(("a", "1", "echo"))
    made.replace([])
    assert made.named("a") == ()
    assert made.specs == {}


HALF = Route(weights={"9": 1, "10": 1})


def routed() -> Catalogue:
    """`b` is answered by 1, and from a second after `UNIX_MS` on by 9 and 10."""
    made = catalogue(("b", "1", "echo"), ("b", "9", "echo"), ("b", "10", "echo"))
    steps = {"b": ((0, alone("1")), (UNIX_MS + 1000, HALF))}
    made.replace(list(made._models.values()), lambda: steps)
    return made


def test_an_id_is_answered_as_its_time_says_whenever_it_is_read() -> None:
    made = routed()
    before, after = id_of_name("x", UNIX_MS), id_of_name("x", UNIX_MS + 1000)
    for late_ms in (0, 500, 10_000, 86_400_000):
        record = FakeRecord(timestamp=UNIX_MS + late_ms)
        assert made.resolve(incoming(before, "b", record=record)) == (("b", "1"), "")
    answers = {
        made.resolve(incoming(after, "b", record=FakeRecord(timestamp=UNIX_MS + 1000 + late_ms)))
        for late_ms in (0, 500, 10_000, 86_400_000)
    }
    ((key, reason),) = answers
    assert key in {("b", "9"), ("b", "10")}
    assert reason == f"weights since {UNIX_MS + 1000}"


def test_a_task_alone_is_answered_by_the_route_of_its_model() -> None:
    made, request = routed(), id_of_name("x", UNIX_MS + 1000)
    record = FakeRecord(timestamp=UNIX_MS + 2000)
    by_name = made.resolve(incoming(request, "b", record=record))
    assert made.resolve(incoming(request, "", task="echo", record=record)) == by_name


def test_what_ran_before_is_answered_by_the_same_version_again() -> None:
    made = routed()
    request = incoming("no time", "b", record=FakeRecord(timestamp=UNIX_MS + 5000))
    request.answered_by = "1"
    assert made.resolve(request) == (("b", "1"), AS_BEFORE)
    request.answered_by = "gone"
    assert made.resolve(request).key != ("b", "gone")


def test_a_name_stands_for_all_versions_that_answer_for_it() -> None:
    made = routed()
    assert made.named("b") == (("b", "10"), ("b", "9"))
    made.replace([each for each in made._models.values() if each[0].version != "9"], made._told)
    assert (made.named("b"), made.arms("b")) == ((("b", "10"),), (("b", "10"), ("b", "9")))
    for number in range(40):
        request = incoming(id_of_name(str(number), UNIX_MS + 1000), "b")
        request.record.timestamp = UNIX_MS + 1000
        if made.meant(request) == "b@9":
            with pytest.raises(
                RequestError, match="b@9, which answers this request for b, is not served"
            ):
                made.resolve(request)
            break
    else:
        pytest.fail("none was meant for what is elsewhere")


def test_defaults_and_parameters_become_settings() -> None:
    assert SERVED.settings(("c", "1"), RequestHead("r", "c")) == {"ms": 5.0}
    assert SERVED.settings(("c", "1"), RequestHead("r", "c", None, {"ms": 7})) == {"ms": 7}


def test_a_models_own_defaults_go_before_the_engines_and_a_request_before_both() -> None:
    entry = entry_for("count", testing=True)
    assert entry is not None
    made = Catalogue()
    spec = ModelSpec("n", "1", "count", entry.engine, "/m", 1, False)
    made.replace([(spec, with_defaults(entry, {"words": 3, "seed": 9}))])
    engines_own = {"ms": 1.0, "fault": "crash"}
    assert made.settings(spec.key, RequestHead("r", "n")) == engines_own | {"words": 3, "seed": 9}
    asked = RequestHead("r", "n", None, {"words": 4})
    assert made.settings(spec.key, asked) == engines_own | {"words": 4, "seed": 9}


def test_a_first_request_runs_with_the_models_own_defaults() -> None:
    entry = with_defaults(CATALOG["txt2txt"], {"max_tokens": 9, "top_k": 3})
    first = first_request(entry, "m", warm_up="Hi")
    assert first is not None
    assert (first.parameters["max_tokens"], first.parameters["top_k"]) == (1, 3)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"temperature": 1.0}, Code.UNKNOWN_PARAMETER),
        ({"ms": "fast"}, Code.INVALID_INPUT),
        ({"ms": True}, Code.INVALID_INPUT),
        ({"ms": -1}, Code.INVALID_INPUT),
        ({"ms": float("nan")}, Code.INVALID_INPUT),
        ({"ms": float("inf")}, Code.INVALID_INPUT),
        ({"ms": ("1",)}, Code.INVALID_INPUT),
        ({"ms": None}, Code.INVALID_INPUT),
    ],
)
def test_parameters_that_are_refused(parameters: dict[str, Parameter], code: Code) -> None:
    with pytest.raises(RequestError) as refused:
        SERVED.settings(("c", "1"), RequestHead("r", "c", None, parameters))
    assert refused.value.code is code


def test_only_equal_parameters_of_equal_types_share_a_group() -> None:
    assert batch_key({"a": 1, "b": "x"}) == batch_key({"b": "x", "a": 1})
    different: list[dict[str, Parameter]] = [
        {},
        {"a": 1},
        {"a": 1.0},
        {"a": True},
        {"a": "1"},
        {"a": None},
        {"a": ("1",)},
        {"b": 1},
    ]
    assert len({batch_key(each) for each in different}) == len(different)
