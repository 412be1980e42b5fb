//! `mqtap serve` against the driver that runs as a process: real taps, the real daemon, each test in a network namespace of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use mqtap_test_support::{Test, list};

mod coalescing;
mod daemon;
mod datapath;
mod engines;
mod hostile;
mod kernel;
mod lifecycle;
mod macvtap;
mod options;
mod places;
mod programs;
mod segmentation;
mod usage;

use coalescing::*;
use datapath::*;
use engines::*;
use hostile::*;
use kernel::*;
use lifecycle::*;
use macvtap::*;
use options::*;
use places::*;
use programs::*;
use segmentation::*;
use usage::*;

fn main() -> std::process::ExitCode {
    let lists = if is_ipvtap() {
        vec![on_another_interface()]
    } else if daemon::in_kernel() {
        vec![both(), kernels(), each_option_of_vhost()]
    } else {
        vec![both(), ours(), on_another_interface(), each_option()]
    };
    mqtap_test_support::run(lists.into_iter().flatten().collect())
}

/// Macvtaps, which every kernel here has, and ipvtaps (`MQTAP_TEST_IPVTAP=on`).
fn on_another_interface() -> Vec<Test> {
    list!(
        a_macvtap_carries_frames_on_the_enabled_pairs,
        a_macvtap_keeps_nothing_for_the_next_guest,
        a_deleted_macvtap_ends_its_nic,
        the_address_of_a_macvtap_is_the_guests,
    )
}

/// Whoever moves the frames.
fn both() -> Vec<Test> {
    list!(
        every_pair_carries_frames_both_ways,
        variants_of_rings_carry_every_byte,
        pairs_that_are_not_enabled_get_nothing,
        an_mtu_of_a_frontend_changes_nothing_of_the_host,
        large_frames_arrive_in_small_buffers,
        checksums_and_segmentation_are_left_to_the_other_end,
        a_tap_without_a_header_carries_frames,
        dirty_pages_are_logged,
        carrier_follows_the_guest,
        carrier_can_be_kept,
        the_next_driver_is_served,
        a_ring_goes_on_where_it_stopped,
        announcements_leave_the_tap,
        a_deleted_tap_ends_its_nic_only,
        a_deleted_tap_is_noticed_without_a_guest,
        a_tap_that_is_shared_is_said_to_be,
        sigterm_leaves_nothing,
        a_persistent_tap_is_kept,
        every_lie_stops_its_ring_only,
        broken_rings_leave_other_nics_alone,
        descriptors_that_are_no_eventfds_are_refused,
        a_vanishing_memory_hurts_nobody_else,
        frontends_do_not_fill_the_log,
        hostile_sessions_leak_no_descriptor,
        a_broken_ring_lets_go_of_memory_that_is_taken_back,
        a_frontend_that_maps_all_it_can_hurts_nobody_else,
    )
}

/// With frames moved by our workers.
fn ours() -> Vec<Test> {
    list!(
        a_busy_transmit_ring_leaves_receive_its_turn,
        polling_rings_need_no_eventfd,
        workers_can_be_shared,
        bursts_arrive_whole_and_in_order_with_each_engine,
        bursts_for_a_tap_without_header_leave_it_out,
        a_limited_send_buffer_keeps_order_and_loses_nothing,
        a_polling_worker_spares_the_driver_its_kicks,
        a_polling_worker_sleeps_in_the_end,
        segments_are_those_of_the_kernel_for_every_driver,
        a_driver_gets_whole_what_it_takes_and_segments_of_the_rest,
        routed_super_frames_are_segmented,
        datagrams_of_a_socket_are_segmented,
        a_stream_of_a_socket_is_segmented,
        segments_wait_for_buffers_and_are_counted_when_they_cannot,
        segments_leave_their_marks_in_the_dirty_log,
        the_kernel_segments_where_it_is_to,
        offloads_stay_while_drivers_come_and_go_and_go_with_the_daemon,
        a_bridge_passes_on_the_same_frames_with_and_without_coalescing,
        a_router_passes_on_the_same_frames_with_and_without_coalescing,
        sockets_get_the_same_datagrams_with_and_without_coalescing,
        a_connection_gets_every_byte_of_coalesced_segments,
        a_limited_send_buffer_keeps_flows_in_the_order_of_the_ring,
        frames_of_a_refused_super_frame_are_written_one_by_one,
        a_stale_socket_is_replaced_and_a_live_one_refused,
        an_eventfd_that_blocks_holds_nobody_up,
        a_frame_of_too_many_pieces_is_dropped_whole,
        eventfds_made_to_block_again_hold_nobody_up,
        wrong_usage_is_exit_status_2,
        more_pairs_than_the_protocol_can_tell_apart_are_refused,
        capabilities_are_printed,
        inherited_sockets_are_served,
        inherited_taps_are_served,
        queues_of_exec_are_served_without_privilege,
        script_and_downscript_are_run_and_heard,
        a_failing_script_ends_the_daemon_and_is_named,
        a_slow_script_holds_no_other_nic_up,
        sigterm_while_a_script_runs_undoes_the_netdev,
        br_puts_the_tap_on_the_bridge_while_it_is_served,
        helper_mqtap_gives_the_daemon_queues_on_the_bridge,
        helper_that_refuses_ends_the_daemon_and_is_quoted,
        netns_has_the_tap_and_its_frames,
        every_option_has_its_test,
        what_an_option_may_not_be_is_refused_by_its_name,
        queues_from_two_places_are_refused,
        what_is_open_already_has_no_options_about_opening,
        vhost_handles_without_vhost_or_of_another_number_are_refused,
        what_qemu_ignores_is_refused,
    )
}

/// With frames moved by the kernel (`MQTAP_TEST_VHOST=on`).
fn kernels() -> Vec<Test> {
    list!(
        a_packed_ring_is_not_offered,
        a_ring_without_a_kick_is_refused,
        rings_change_hands_under_traffic,
        what_the_kernel_moves_is_counted_for_the_interface,
        memory_comes_and_goes_under_traffic,
        more_regions_than_the_kernel_takes_are_refused,
        memory_that_the_log_does_not_cover_is_refused,
        handles_that_are_passed_are_used,
        handles_of_exec_are_served_without_privilege,
        a_handle_has_one_owner,
        a_handle_twice_is_refused,
        the_busy_loop_is_set,
        killing_the_daemon_leaves_nothing,
    )
}
