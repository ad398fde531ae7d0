"""The acceptance table "honest about busy" of the first consumer: each line, and what holds it."""

from __future__ import annotations

import pytest

from tests.named import is_test

HONEST, MIRAVEJA = "acceptance/test_honest", "integration/doors/test_miraveja"
TOLD = f"{HONEST}::each_is_told_at_once_where_it_stands_hears_when_that_changes_and_busy_if_it_asks"
HTTP = "unit/gateway/miraveja/test_http"

TABLE = {
    "accepted at once, with position and wait": [
        TOLD,
        f"{HTTP}::position_and_wait_follow_what_is_told",
    ],
    "or refused: busy, with a time": [
        TOLD,
        "unit/gateway/test_parts::who_is_refused_is_told_when_a_place_will_be_free",
    ],
    "or refused: unknown, invalid, cannot be served here": [
        f"{HONEST}::what_cannot_be_is_refused_with_its_reason_though_all_is_busy",
        f"{MIRAVEJA}::what_cannot_be_is_refused_at_once",
    ],
    "or refused: model unavailable": [
        f"{HONEST}::a_model_that_is_out_of_order_says_when_to_ask_again",
    ],
    "or refused: starting, stopping, failed during generation": [
        f"{HTTP}::each_refusal_has_its_reason",
        "integration/gateway/test_limits::a_stop_without_time_refuses_and_cancels",
    ],
    "asked at any time it is waiting, running, done, failed, withdrawn, stopped": [
        f"{HONEST}::each_way_to_end_is_a_state_of_its_own",
        f"{HTTP}::each_state_has_its_word",
    ],
    "withdrawn at any time; what had not begun never runs": [
        f"{MIRAVEJA}::what_is_withdrawn_before_it_began_never_runs",
    ],
    "a burst of 20 from 4 callers, for more models than fit": [
        f"{HONEST}::a_burst_for_more_models_than_fit_is_answered_whole",
        f"{MIRAVEJA}::a_burst_of_four_callers_is_answered_whole",
    ],
    "nine in ten start within half of the wait that was told": [
        "acceptance/test_bench::a_quick_run_takes_every_figure",
    ],
    "nobody is overtaken for longer than a bound": [
        "unit/scheduling/test_groups::an_aged_head_costs_the_lanes_above_one_group_per_bound",
        "unit/scheduling/test_residency::room_that_an_aged_claim_waits_for_is_not_taken_by_a_small_one",
    ],
    "of one model by arrival": [
        "unit/scheduling/test_turns::alone_a_principal_is_served_by_arrival_whatever_it_asks",
    ],
    "the same seed, the same result; it says what was used": [
        "integration/test_diffusion::a_seed_gives_the_same_bytes_alone_and_again",
        "integration/test_diffusion::without_a_seed_the_result_tells_the_one_that_was_drawn",
        "integration/test_diffusion::a_filter_that_changed_the_image_is_told",
    ],
    "a licence on record": [
        "unit/registry/test_hub::a_model_is_installed_in_its_commit_with_files_sums_and_licence",
        "unit/registry/test_declared::a_licence_may_be_required",
    ],
    "files that are not those of the record are refused": [
        "unit/registry/test_lock::a_locked_node_refuses_what_drifted_and_goes_on_with_what_it_has",
    ],
    "what is retired keeps its record": ["unit/gateway/test_registry::the_life_of_a_model"],
    "a phrase is in no log": [f"{MIRAVEJA}::what_was_sent_is_in_no_log"],
    "a result is held for its time": [f"{HTTP}::what_is_no_longer_held"],
    "a stop leaves nobody without an answer": [
        f"{HONEST}::a_node_that_stops_leaves_nobody_without_a_word",
        f"{MIRAVEJA}::a_node_that_stops_leaves_no_request_open",
    ],
    "a caller sees its own requests only": [f"{HTTP}::the_request_of_another_is_not_there"],
    "texts with images, and the default of a kind": [
        f"{HTTP}::images_go_to_a_model_that_sees",
        f"{HTTP}::models_and_availability",
    ],
    "without a network": ["unit/registry/test_hub::offline_only_the_cache_is_asked"],
}


@pytest.mark.parametrize("line", TABLE)
def test_each_line_has_its_tests(line: str) -> None:
    assert TABLE[line]
    assert [named for named in TABLE[line] if not is_test(named)] == []
