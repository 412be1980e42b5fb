//! `mqtap exec` with real taps and small commands, each test in a network namespace of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod descriptors;
mod environment;
mod page;
mod status;
mod stay;
mod support;

mqtap_test_support::tests!(
    queues_are_inherited_from_3_in_a_row,
    nothing_else_is_inherited,
    netdevs_follow_one_another,
    adopted_queues_are_put_in_order,
    queues_are_attached_and_carrier_is_on,
    the_tap_goes_with_the_command,
    many_queues_are_handed_over,
    numbers_follow_what_was_opened,
    an_exec_in_an_exec_hands_the_queues_on,
    names_are_replaced_in_arguments_only,
    addresses_stay_the_same,
    the_address_of_a_macvtap_is_the_guests,
    signals_and_limits_are_as_they_were,
    capabilities_can_be_dropped,
    another_user_gets_no_capabilities,
    users_and_groups_are_those_of_the_system,
    numbers_of_users_need_no_system,
    the_status_is_that_of_the_command,
    commands_that_cannot_run_are_127_and_126,
    netdevs_that_cannot_be_opened_are_1,
    wrong_usage_is_2_and_opens_nothing,
    a_netdev_is_undone_after_the_command,
    scripts_are_run_before_and_after_the_command,
    netdevs_are_undone_in_reverse,
    a_child_inherits_as_well,
    the_status_is_passed_on,
    signals_are_passed_on,
    a_killed_command_is_undone,
    a_command_that_somebody_stops_is_waited_for,
    ctrl_c_arrives_once,
    ctrl_z_gives_the_terminal_back,
    cloud_hypervisor_is_told_what_it_understands,
    crosvm_is_told_what_it_understands,
);

use descriptors::*;
use environment::*;
use page::*;
use status::*;
use stay::*;
