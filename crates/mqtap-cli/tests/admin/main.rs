//! `mqtap list`, `show`, `queues`, `doctor` and `features`, each test in a network namespace of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod command;
#[path = "../serve/daemon.rs"]
#[allow(dead_code, reason = "shared with the tests of `mqtap serve`")]
mod daemon;
mod doctor;
mod keys;
mod taps;

mqtap_test_support::tests!(
    every_tap_has_a_line,
    a_tap_is_shown_with_its_holder,
    a_tap_of_another_namespace_is_shown,
    what_is_no_tap_is_refused,
    queues_are_watched_until_the_tap_is_gone,
    a_reader_that_has_seen_enough_is_no_failure,
    the_counters_of_a_daemon_are_those_of_its_guest,
    several_daemons_tell_of_themselves,
    a_status_socket_goes_with_its_daemon,
    nobody_who_asks_can_hold_a_daemon_up,
    the_exit_status_says_whether_it_is_serious,
    findings_fit_a_terminal,
    colours_are_for_terminals,
    names_cannot_speak_to_a_shell_or_a_terminal,
    what_a_doctor_says_mends_it,
    all_that_a_doctor_says_at_once_leaves_the_tap,
    what_a_doctor_says_of_another_namespace_mends_it_there,
    errors_are_explained,
    a_name_that_is_nowhere_is_an_error,
    what_is_no_tap_is_a_finding,
    the_worst_comes_first_whatever_it_is_of,
    the_page_names_every_key_of_a_tap,
    the_values_are_those_of_iproute2,
    the_page_names_every_key_of_the_others,
    features_are_told_without_a_trace,
);

use doctor::*;
use keys::*;
use taps::*;
