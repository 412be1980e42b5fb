//! Every trap of the kernel's tap interface, set on purpose and found; and what is typed against it, typed. Each test has a
//! network namespace of its own, and names of its own: holders are looked for on the whole machine.

#![allow(clippy::unwrap_used)]

mod host;
#[path = "../raw/mod.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod raw;
mod state;
mod support;
mod traps;

use host::*;
use state::*;
use traps::*;

mqtap_test_support::tests!(
    a_healthy_tap_has_no_findings,
    an_idle_tap_that_is_prepared_well_has_no_findings,
    trap_a_flags_of_a_tap_in_use_that_the_kernel_keeps,
    trap_b_a_header_lost_to_whoever_opened_the_tap_last,
    trap_c_offloads_that_a_former_user_left,
    trap_c_a_header_size_that_makes_no_sense,
    trap_d_a_tap_left_over_and_how_to_be_rid_of_it,
    trap_e_txqueuelen_0_drops_every_frame,
    trap_f_a_classic_filter_that_keeps_queues_detached,
    trap_g_a_persistent_tap_that_belongs_to_nobody,
    trap_g_a_tap_in_use_that_belongs_to_nobody,
    trap_h_a_process_has_a_namesake_of_another_namespace,
    trap_h_a_tap_that_moved_here_is_told,
    trap_i_frames_cut_off_by_small_buffers,
    a_queue_that_nobody_reads_is_named,
    a_carrier_without_a_reader_is_found_and_taken,
    slow_descriptors_are_found,
    several_processes_on_one_tap_are_named,
    a_stopped_holder_is_found_and_woken,
    mismatched_queue_counts_are_found_before_they_fail,
    the_memory_of_mq_is_found_and_given_back,
    a_bridge_that_does_not_fit_is_found,
    a_tap_in_use_that_is_down_is_found,
    a_tun_is_no_tap,
    what_is_something_else_is_no_tap,
    trap_c_a_steering_program_left_behind_is_suspected,
    a_host_says_what_it_has,
    without_privilege_a_tap_is_tried_in_a_namespace_of_ones_own,
    a_name_that_is_not_there_is_looked_for,
    a_doctor_changes_nothing,
);
