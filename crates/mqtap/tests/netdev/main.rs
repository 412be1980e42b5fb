//! Netdevs on the real kernel.
//!
//! A closed descriptor may live on for a moment in a child that another test has forked and that has not come to its exec yet. So what
//! closing brings about is waited for, and no test makes an interface anew under a name it has just closed.

#![allow(clippy::unwrap_used)]

mod bridge;
mod creation;
mod helper;
mod netns;
mod open;
mod script;
mod vhost;

use std::os::fd::{AsFd, AsRawFd as _, IntoRawFd as _};
use std::sync::atomic::{AtomicI32, Ordering};

use mqtap::netdev::{self, Netdev, Options};
use mqtap::{OpenOptions, TapDevice};
use mqtap_test_support::{ip, tests};

use bridge::*;
use creation::*;
use helper::*;
use netns::*;
use open::*;
use script::*;
use vhost::*;

tests!(
    opens_as_many_queues_as_asked,
    takes_the_name_the_kernel_chooses,
    takes_a_pattern,
    one_queue_of_a_multi_queue_tap,
    one_queue_of_a_single_queue_tap,
    two_queues_of_a_single_queue_tap_are_refused_with_the_remedy,
    too_many_queues_are_refused_before_anything_is_opened,
    can_leave_every_queue_detached,
    the_carrier_is_as_asked,
    the_vnet_header_is_as_asked,
    the_qdisc_is_as_asked,
    finds_out_the_header_of_what_it_adopts,
    a_send_buffer_can_be_set,
    adopts_a_queue,
    adopts_queues_in_order,
    adopts_queues_and_leaves_them_detached,
    refuses_queues_of_two_devices_and_leaves_them_alone,
    refuses_what_is_not_a_tap,
    a_failure_at_a_later_queue_leaves_no_trace,
    an_exclusive_netdev_refuses_a_used_interface,
    closing_a_netdev_removes_its_interface,
    refuses_options_that_make_no_sense,
    without_vhost_net_the_error_says_what_to_do,
    trying_vhost_net_does_without_it,
    refuses_what_is_not_a_vhost_net_handle_and_leaves_it_alone,
    br_takes_a_new_interface_and_gives_it_the_mtu,
    br_leaves_the_address_of_the_bridge_alone,
    br_keeps_the_address_of_an_interface_that_was_there,
    br_takes_adopted_queues,
    br_is_undone_at_the_end_for_an_interface_that_stays,
    br_leaves_an_interface_that_is_on_it_already,
    br_that_is_not_there_is_an_error_with_the_remedy,
    br_that_is_in_another_namespace_is_named,
    br_by_an_alternative_name_is_refused,
    br_that_is_no_bridge_is_an_error,
    br_refuses_an_interface_of_another_bridge,
    br_without_the_capability_is_an_error_with_the_remedy,
    br_that_fails_leaves_no_trace,
    persist_keeps_the_interface,
    persist_is_for_the_next_start_as_well,
    persist_leaves_nothing_if_something_fails,
    user_and_group_own_a_new_interface,
    trap_g_persist_leaves_no_interface_to_everybody,
    trap_g_what_nobody_asked_for_is_not_for_everybody,
    trap_g_nobody_is_quicker_than_the_owner,
    queues_are_good_for_whoever_has_them,
    user_and_group_that_do_not_exist_are_an_error,
    mac_and_mtu_are_those_of_a_new_interface,
    mac_and_mtu_are_there_when_the_script_runs,
    mac_and_mtu_go_before_what_the_bridge_would_have,
    an_interface_that_exists_must_agree_and_is_not_changed,
    trap_h_netns_is_where_the_interface_and_all_its_settings_are,
    netns_is_where_bridge_and_script_are,
    netns_is_a_name_a_path_or_a_process,
    netns_that_does_not_exist_is_an_error,
    netns_without_the_capability_is_an_error_with_the_remedy,
    script_runs_once_with_the_name_when_queue_0_is_open,
    script_is_none_unless_asked_for,
    script_that_fails_undoes_the_netdev_and_its_status_is_named,
    script_that_fails_leaves_an_existing_interface_as_it_was,
    script_that_cannot_run_is_named_with_the_remedy,
    script_inherits_no_queue,
    downscript_runs_at_the_end_while_the_interface_is_there,
    downscript_is_told_the_name_of_now,
    downscript_runs_when_a_later_step_fails,
    downscript_that_fails_does_not_keep_the_interface,
    script_may_make_what_the_next_step_needs,
    helper_of_qemu_opens_a_queue_on_the_bridge,
    helper_with_a_blank_is_run_by_a_shell,
    helper_of_qemu_that_refuses_is_quoted_with_the_remedy,
    helper_gets_the_arguments_of_the_protocol_and_no_descriptor_but_the_socket,
    helper_that_passes_nothing_is_an_error,
    helper_that_is_not_there_is_named,
);

/// Opens what can be opened.
#[track_caller]
fn open(text: &str) -> Netdev {
    match Netdev::open(&parse(text)) {
        Ok(netdev) => netdev,
        Err(error) => panic!("{text}: {error}"),
    }
}

/// The error of what cannot.
#[track_caller]
fn refused(text: &str) -> netdev::Error {
    match Netdev::open(&parse(text)) {
        Ok(_) => panic!("{text} was opened"),
        Err(error) => error,
    }
}

#[track_caller]
fn parse(text: &str) -> Options {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn says(error: &netdev::Error, pieces: &[&str]) {
    let text = error.to_string();
    for piece in pieces {
        assert!(text.contains(piece), "`{piece}` is missing in: {text}");
    }
}

/// What `ip` says about an interface.
fn details(name: &str) -> String {
    ip(&format!("-details link show {name}")).unwrap()
}

/// The number of interfaces here, the loopback among them.
fn interfaces() -> usize {
    ip("-oneline link show").unwrap().lines().count()
}

/// Numbers for descriptors that are passed. A number is taken once in the life of a process, so none is given out again.
static NEXT_NUMBER: AtomicI32 = AtomicI32::new(600);

/// A descriptor as a parent process would pass it: a duplicate that no object of ours owns.
fn pass(fd: impl AsFd) -> i32 {
    let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
    let duplicate = rustix::io::fcntl_dupfd_cloexec(fd, number).unwrap();
    assert_eq!(duplicate.as_raw_fd(), number, "something else uses these numbers");
    // What came through an exec cannot be close-on-exec.
    rustix::io::fcntl_setfd(&duplicate, rustix::io::FdFlags::empty()).unwrap();
    duplicate.into_raw_fd()
}

/// The queues of a device, passed.
fn passed(device: &TapDevice) -> Vec<i32> {
    device.queues().iter().map(pass).collect()
}

fn passed_queues(name: &str, queues: u16) -> Vec<i32> {
    let options = OpenOptions { name: name.parse().unwrap(), queues, ..OpenOptions::default() };
    passed(&TapDevice::open(&options).unwrap())
}

fn list(fds: &[i32]) -> String {
    fds.iter().map(i32::to_string).collect::<Vec<_>>().join(":")
}
