"""Who may do what: one table of decisions, and what holds whatever is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from modelmora.access.rights import Decision, Rights, Rule, Told, Verb, asking, is_of, matches
from modelmora.messages import Lane
from modelmora.settings import AccessSettings
from modelmora.settings.rights import BUILT_IN

ROLES: dict[str, Any] = {
    "embedder": [
        {
            "verbs": ["infer", "jobs.read"],
            "models": ["embed-*", "chat@2"],
            "lanes": ["low", "normal"],
        }
    ],
    "urgent": [{"verbs": ["infer", "stream"]}],
    "quiet": [
        {"verbs": ["infer", "stream"], "lanes": ["critical"], "effect": "deny"},
        {"verbs": ["load"], "models": ["huge"], "effect": "deny"},
    ],
    "loader": [{"verbs": ["load", "unload"], "models": ["*"], "lanes": ["low"]}],
    "everything-small": [{"verbs": list(Verb), "models": ["small-*"]}],
    "shut": [{"verbs": list(Verb), "effect": "deny"}],
}  # fmt: skip
GRANTS: dict[str, list[str]] = {
    "alice": ["embedder"],
    "bob": ["urgent", "quiet", "loader"],
    "carol": ["everything-small"],
    "mallory": ["admin", "shut"],
    "root": ["admin"],
    "team-*": ["caller"],
    "*": ["auditor"],
    "topic:batch-*": ["embedder"],
    "dave": ["nobody-tells-this"],
}
RIGHTS = Rights(AccessSettings.model_validate({"roles": ROLES, "grants": GRANTS}))

ALLOWED, DENIED, UNGRANTED = "allows it", "denies it", "no role that is granted"


@pytest.mark.parametrize(
    ("principal", "verb", "model", "lane", "said"),
    [
        # What a rule names it allows, and nothing beside it.
        ("alice", Verb.INFER, "embed-small", Lane.NORMAL, ALLOWED),
        ("alice", Verb.INFER, "embed-small@7", Lane.LOW, ALLOWED),
        ("alice", Verb.INFER, "embed-small", Lane.HIGH, UNGRANTED),
        ("alice", Verb.STREAM, "embed-small", Lane.NORMAL, UNGRANTED),
        ("alice", Verb.INFER, "xembed-small", Lane.NORMAL, UNGRANTED),
        ("alice", Verb.LOAD, "embed-small", None, UNGRANTED),
        # A glob with a version is of requests that name one.
        ("alice", Verb.INFER, "chat@2", Lane.LOW, ALLOWED),
        ("alice", Verb.INFER, "chat@3", Lane.LOW, UNGRANTED),
        ("alice", Verb.INFER, "chat", Lane.LOW, UNGRANTED),
        # Without a lane or a model all of it is meant.
        ("alice", Verb.INFER, "embed-small", None, UNGRANTED),
        ("alice", Verb.INFER, None, Lane.LOW, UNGRANTED),
        ("bob", Verb.LOAD, None, None, DENIED),
        ("bob", Verb.UNLOAD, None, None, ALLOWED),
        # Lanes count for requests alone.
        ("alice", Verb.JOBS_READ, "embed-small", Lane.CRITICAL, ALLOWED),
        ("bob", Verb.LOAD, "chat", None, ALLOWED),
        # What denies a part counts before all that allow it.
        ("bob", Verb.INFER, "chat", Lane.HIGH, ALLOWED),
        ("bob", Verb.STREAM, "chat", Lane.CRITICAL, DENIED),
        ("bob", Verb.INFER, "chat", None, DENIED),
        ("bob", Verb.LOAD, "huge@4", None, DENIED),
        ("mallory", Verb.AUDIT_READ, None, None, DENIED),
        ("mallory", Verb.INFER, "chat", Lane.LOW, DENIED),
        # Who may do all with some models has not what is about all of them.
        ("carol", Verb.INFER, "small-one", Lane.CRITICAL, ALLOWED),
        ("carol", Verb.DLQ_REPLAY, "small-one", None, ALLOWED),
        ("carol", Verb.DLQ_REPLAY, None, None, UNGRANTED),
        ("carol", Verb.ADMIN, None, None, UNGRANTED),
        ("root", Verb.ADMIN, None, None, ALLOWED),
        ("root", Verb.INFER, "anything@9", Lane.CRITICAL, ALLOWED),
        # Globs of principals.
        ("team-a", Verb.STREAM, "chat", Lane.LOW, ALLOWED),
        ("my-team-a", Verb.STREAM, "chat", Lane.LOW, UNGRANTED),
        ("stranger", Verb.AUDIT_READ, None, None, ALLOWED),
        ("stranger", Verb.INFER, "chat", Lane.LOW, UNGRANTED),
        ("dave", Verb.INFER, "chat", Lane.LOW, UNGRANTED),
        # What was only claimed on a topic has what is granted to `topic:` names alone.
        ("topic:batch-1", Verb.INFER, "embed-x", Lane.LOW, ALLOWED),
        ("topic:alice", Verb.INFER, "embed-x", Lane.LOW, UNGRANTED),
        ("topic:anyone", Verb.AUDIT_READ, None, None, UNGRANTED),
        ("", Verb.INFER, "chat", Lane.LOW, UNGRANTED),
        ("ALICE", Verb.INFER, "embed-x", Lane.LOW, UNGRANTED),
    ],
)  # fmt: skip
def test_decisions(
    principal: str, verb: Verb, model: str | None, lane: Lane | None, said: str
) -> None:
    decision = RIGHTS.decide(principal, verb, model, lane)
    assert (decision.allowed, said in decision.reason) == (said is ALLOWED, True), decision
    if not decision.allowed:
        assert decision.reason.startswith((f"{principal} may not {verb}", f"{principal} lacks "))
        assert f" {verb}" in decision.reason
        assert "\n" not in decision.reason


def test_a_refusal_names_what_was_asked() -> None:
    told = RIGHTS.decide("bob", Verb.STREAM, "chat", Lane.CRITICAL).reason
    assert told == "bob may not stream chat in lane critical: role quiet denies it"
    told = RIGHTS.decide("bob", Verb.JOBS_READ, "chat").reason
    assert told == "bob lacks the right jobs.read of chat: no role that is granted allows it"
    told = RIGHTS.decide("bob", Verb.ADMIN).reason
    assert told == "bob lacks the right admin: no role that is granted allows it"
    told = RIGHTS.decide("alice", Verb.ROUTE, "m" * 5000).reason
    assert told.startswith("alice may not route mmm")
    assert len(told) < 300


@pytest.mark.parametrize("verb", Verb)
def test_while_nothing_is_told_everybody_may_do_all(verb: Verb) -> None:
    for rights in (Rights(), Rights(AccessSettings(), Told())):
        assert rights.decide("anybody", verb) == Decision(True, "no roles are told")
        assert rights.decide("topic:anybody", verb, "m", Lane.CRITICAL).allowed
        assert rights.decide_any("anybody").allowed


@pytest.mark.parametrize(
    "told",
    [
        Told(roles={"r": (Rule(verbs=(Verb.INFER,)),)}),
        Told(roles={"r": ()}),
        Told(grants={"a": ("caller",)}),
        Told(grants={"a": ()}),
        Told(ever=True),
    ],
)
def test_once_anything_is_told_nobody_may_do_what_none_allows(told: Told) -> None:
    rights = Rights(AccessSettings(), told)
    assert not any(rights.decide("b", verb, "m", Lane.LOW).allowed for verb in Verb)
    assert not rights.decide_any("b").allowed


def test_two_sources_count_together_and_deny_wins_whoever_says_it() -> None:
    one = Told({"r": (Rule(verbs=(Verb.INFER,)),)}, {"alice": ("r",)})
    two = Told({"r": (Rule(verbs=(Verb.INFER,), models=("secret",), effect="deny"),)})
    for rights in (Rights(one, two), Rights(two, one)):
        assert rights.decide("alice", Verb.INFER, "m", Lane.LOW).allowed
        assert not rights.decide("alice", Verb.INFER, "secret", Lane.LOW).allowed


def test_roles_that_are_always_there_are_nobody_elses_to_tell() -> None:
    told = Told({"caller": (Rule(verbs=(Verb.ADMIN,)),)}, {"a": ("caller",)})
    rights = Rights(told)
    assert rights.decide("a", Verb.INFER, "m", Lane.LOW).allowed
    assert not rights.decide("a", Verb.ADMIN).allowed
    for name in BUILT_IN:
        with pytest.raises(ValidationError, match="always there"):
            AccessSettings.model_validate({"roles": {name: [{"verbs": ["infer"]}]}})


def test_what_is_denied_to_all_is_denied_to_claimed_names_too() -> None:
    deny = (Rule(verbs=(Verb.INFER,), effect="deny"),)
    rights = Rights(Told({"off": deny}, {"*": ("off",), "topic:*": ("caller",)}))
    assert not rights.decide("topic:x", Verb.INFER, "m", Lane.LOW).allowed
    assert rights.decide("topic:x", Verb.STREAM, "m", Lane.LOW).allowed


def test_whether_anything_may_be_done_at_all() -> None:
    assert RIGHTS.decide_any("alice", (Verb.INFER, Verb.STREAM)).allowed
    assert not RIGHTS.decide_any("alice", (Verb.STREAM,)).allowed
    assert RIGHTS.decide_any("bob", (Verb.INFER,)).allowed  # denied in one lane only
    assert not RIGHTS.decide_any("mallory").allowed
    assert RIGHTS.decide_any("stranger").allowed
    told = RIGHTS.decide_any("topic:stranger")
    assert told.reason.startswith("topic:stranger may not do anything here: ")
    told = RIGHTS.decide_any("carol", (Verb.ROUTE,))
    assert told.allowed
    told = RIGHTS.decide_any("alice", (Verb.STREAM, Verb.LOAD))
    assert told.reason.startswith("alice may not stream or load: ")


def test_a_role_that_nobody_tells_is_named() -> None:
    assert RIGHTS.untold == (("dave", "nobody-tells-this"),)


def test_what_a_request_is() -> None:
    assert (asking(progress=True), asking(progress=False)) == (Verb.STREAM, Verb.INFER)


NAMES = st.text("ab*", max_size=6)


@given(NAMES, st.text("ab", max_size=12))
def test_globs_are_those_of_everybody(glob: str, text: str) -> None:
    from fnmatch import fnmatchcase

    assert matches(glob, text) == fnmatchcase(text, glob)


def test_only_the_star_is_special() -> None:
    assert not matches("a?c", "abc")
    assert not matches("[a]", "a")
    assert matches("[a]", "[a]")
    assert is_of("*", "chat@2")
    assert is_of("*@2", "chat@2")
    assert not is_of("*@*", "chat")
    assert is_of("chat", "chat@2@3")


RULES = st.builds(
    Rule,
    verbs=st.lists(st.sampled_from(Verb), min_size=1, max_size=3).map(tuple),
    models=st.lists(st.sampled_from(["*", "a*", "ab", "ab@1"]), min_size=1, max_size=2).map(tuple),
    lanes=st.lists(st.sampled_from(["low", "high"]), min_size=1, max_size=2).map(tuple),
    effect=st.sampled_from(["allow", "deny"]),
)
ASKED = st.tuples(
    st.sampled_from(["ann", "topic:ann"]),
    st.sampled_from(Verb),
    st.sampled_from([None, "ab", "ab@1", "b"]),
    st.sampled_from([None, Lane.LOW, Lane.HIGH]),
)


@given(st.lists(RULES, max_size=4), RULES, ASKED)
def test_a_rule_that_denies_takes_and_one_that_allows_gives(
    rules: list[Rule], more: Rule, asked: tuple[str, Verb, str | None, Lane | None]
) -> None:
    """Whatever the order: so no decision hangs on who told what first."""
    grants = {"a*": ("r",), "topic:a*": ("r",)}
    before = Rights(Told({"r": tuple(rules)}, grants)).decide(*asked).allowed
    after = Rights(Told({"r": (*rules, more)}, grants)).decide(*asked).allowed
    turned = Rights(Told({"r": (more, *reversed(rules))}, grants)).decide(*asked).allowed
    assert after == turned
    assert (after <= before) if more.effect == "deny" else (after >= before)
