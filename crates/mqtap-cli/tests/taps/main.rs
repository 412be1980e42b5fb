//! `mqtap create` and `mqtap delete`, and what docs/taps.md says of them, each test in a network namespace of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod command;
mod networkd;
mod page;
mod usage;

mqtap_test_support::tests!(
    the_page_is_as_ip_tuntap_does_it,
    the_page_is_as_networkd_does_it,
    the_page_shows_the_json_there_is,
    the_name_is_printed,
    the_tap_belongs_to_whoever_runs_it,
    a_group_alone_has_no_owner_beside_it,
    options_and_words_say_the_same,
    wrong_usage_is_2_and_makes_nothing,
    failures_are_1_and_say_why,
    without_dev_net_tun_it_says_who_may,
    deleting_says_who_had_it_open,
    what_cannot_be_printed_is_done_all_the_same,
    deletions_are_told_as_json,
);

use networkd::*;
use page::*;
use usage::*;
