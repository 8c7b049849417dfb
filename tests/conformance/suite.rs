//! The tests, and the worlds that they are asked of. (A test that is missing here is dead code, which lints tell.)

/// Makes a test of each function, in the module of a world.
macro_rules! instantiate {
    ($type:path; $($module:ident { $($test:ident)* })*) => {
        $(mod $module {
            use crate::world::World;
            $(#[test]
            fn $test() {
                let _turn = <$type>::turn();
                crate::$module::$test::<$type>();
            })*
        })*
    };
}

/// What every world promises.
macro_rules! suite {
    ($type:path) => {
        instantiate! { $type;
            alternatives {
                the_first_side_that_does_not_retry_counts
                a_failed_side_is_undone_to_where_it_began
                an_inner_alternative_is_undone_with_its_outer_side
                errors_are_not_alternatives
                sides_see_what_came_before_and_go_on_with_it
                what_is_written_again_after_an_undone_part_counts
                deep_nesting
                no_sides_at_all_is_a_retry
                a_change_of_a_cell_that_any_side_has_read_wakes
                what_was_read_before_and_in_nested_parts_wakes_too
                helpers_compose
            }
            blocking {
                a_sleeper_makes_one_attempt_and_one_more_when_woken
                a_write_among_many_wakes
                a_change_that_does_not_help_lets_it_sleep_on
                what_was_written_unread_does_not_wake
                a_change_between_reading_and_sleeping_is_not_lost
                ping_pong_loses_no_wake_up
                producers_and_consumers_pass_on_everything_once
                many_sleepers_wait_for_one_cell
                a_resource_handed_around_wakes_in_chains
            }
            errors {
                a_caught_error_undoes_its_own_part_and_only_that
                a_part_that_succeeds_is_kept_and_may_be_undone_by_an_outer_one
                the_error_may_refer_to_what_was_written_and_undone
                retry_inside_a_guarded_part_is_not_an_error_of_it
                leaving_with_an_error_rolls_everything_back
                question_mark_works_for_both_kinds
                boxed_and_plain_errors
                plain_helpers_work_in_both_kinds_of_transaction
                an_error_after_an_interrupt_is_not_believed
                an_error_is_judged_on_a_consistent_snapshot
                a_caught_error_still_counts_as_read
                a_panic_rolls_back_and_goes_on
                a_panic_that_is_caught_undoes_the_part_that_it_left
                panics_of_many_threads_leave_a_consistent_state
            }
            hooks {
                commit_hooks_run_once_in_order_after_the_commit
                rollback_hooks_run_once_newest_first
                rollback_hooks_run_when_a_panic_passes
                every_attempt_runs_the_rollback_hooks_that_it_registered
                a_read_only_transaction_has_hooks_too
                hooks_of_a_failed_part_count_as_rolled_back
                hooks_of_a_failed_side_count_as_rolled_back
                hooks_of_parts_and_sides_keep_their_order
                what_was_rolled_back_early_runs_newest_first_within_itself
                hooks_may_run_transactions_and_see_the_outcome
                hooks_that_run_transactions_leave_the_outer_one_as_it_was
                a_transaction_that_sleeps_runs_its_rollback_hooks_first
                a_panicking_commit_hook_undoes_nothing_and_stops_no_other
                a_panicking_rollback_hook_ends_the_transaction
                a_panic_in_a_rollback_hook_beside_another_does_not_end_the_process
                hooks_of_one_thread_run_one_transaction_after_the_other
                hooks_of_several_threads_have_no_order
            }
            snapshots {
                a_snapshot_sees_one_moment_whatever_is_committed_meanwhile
                references_of_a_snapshot_stay_valid
                a_snapshot_returns_what_its_closure_does_once
                a_snapshot_does_not_keep_writers_from_committing
                snapshots_of_many_cells_are_consistent_under_writers
                a_snapshot_sees_what_happened_before_it
                a_panic_in_a_snapshot_ends_it
                a_reader_stays_at_its_moment_and_retry_waits_for_a_change
            }
            statistics {
                commits_and_reads
                aborts_by_cause
                a_panic_is_an_abort_of_the_users
                failures_inside_do_not_count_as_aborts
                counts_of_ended_threads_stay
            }
            values {
                read_write_modify_create
                references_stay_valid_after_own_writes
                nothing_is_visible_before_the_commit_and_everything_after
                large_transactions_find_their_own_writes
                a_transaction_that_only_reads_is_never_repeated
                an_updating_transaction_is_repeated_only_if_what_it_read_has_changed
                an_updating_transaction_moves_its_snapshot_forward
                an_updating_transaction_does_not_pass_a_change_of_what_it_has_read
                a_transaction_that_writes_after_reading_the_past_begins_again
                blind_writes_of_many_threads_all_commit_whole
                readers_see_consistent_states_under_load
                attempts_of_writers_see_consistent_states_under_load
                snapshots_see_consistent_states_under_load
                write_skew_is_impossible
                write_skew_is_impossible_step_by_step
                increments_are_not_lost
                a_transaction_may_use_other_threads
            }
        }
    };
}

/// What every world promises for closures: what becomes of them and what they return if something panics, and what a
/// program is told that uses them in a wrong way.
macro_rules! closure_suite {
    ($type:path) => {
        instantiate! { $type;
            bounds {
                a_bounded_transaction_does_not_begin_inside_another
                retry_timeout_fails_after_an_interrupt
                what_a_bounded_closure_has_captured_is_dropped_when_it_panics
            }
            snapshots {
                a_snapshot_inside_a_snapshot_joins_it
            }
            bombs {
                what_unrun_hooks_hold_panics_beside_a_hook
                what_unrun_hooks_hold_panics_alone
                all_hooks_run_whatever_one_panics_with
                a_result_is_dropped_when_a_hook_panics
                the_result_of_a_failed_attempt_panics_and_a_hook_too
                the_result_of_a_failed_attempt_is_dropped_between_attempts
                what_a_closure_has_captured_is_dropped_when_it_panics
                the_other_sides_are_dropped_when_one_panics
                errors_that_are_discarded_for_a_signal_end_there
            }
            misuse {
                transactions_do_not_begin_inside_transactions
                transactions_do_not_begin_inside_snapshots
                a_caught_panic_of_a_nested_transaction_leaves_the_outer_one_intact
                a_swallowed_retry_cannot_commit
                every_operation_after_a_swallowed_conflict_fails
                after_an_interrupt_own_writes_cannot_be_read_either
                a_signal_swallowed_in_a_part_or_side_counts_for_the_whole
                a_signal_kept_from_another_attempt_is_recognised
                sleeping_for_ever_is_recognised
                waiting_for_ones_own_write_is_recognised
            }
        }
    };
}

/// What a world promises whose attempts are driven step by step.
macro_rules! explicit_suite {
    ($type:path) => {
        instantiate! { $type;
            explicit {
                an_attempt_commits_or_says_why_not
                what_is_dropped_or_rolled_back_leaves_nothing
                savepoints_undo_what_came_after_them_and_only_that
                an_alternative_by_hand
                a_savepoint_is_good_once_and_in_its_attempt
                a_wait_ends_when_the_driver_says
                after_a_conflict_nothing_can_be_saved
                a_conflict_is_told_and_another_attempt_commits
                a_retry_waits_for_a_change
                a_transaction_that_has_left_its_thread_goes_on_on_another
                a_wait_for_nothing_is_an_error
                bounds_end_it
                nested_entry_is_an_error
                nothing_goes_on_while_an_attempt_is_open
                a_wait_that_was_asked_for_before_a_savepoint_stays
                savepoints_by_the_thousand
                other_transactions_run_between_two_attempts
                hooks_run_when_the_outcome_is_known
                random_programs_do_what_they_do_in_closures
            }
        }
    };
}

/// What a world promises that is `Bounded`.
macro_rules! bounded_suite {
    ($type:path) => {
        instantiate! { $type;
            bounds {
                a_bounded_transaction_that_commits_is_like_any_other
                attempts_are_counted_and_bounded
                the_last_attempt_may_commit
                no_attempts_are_one_attempt
                a_last_retry_counts_as_an_attempt_and_does_not_sleep
                a_timeout_ends_a_sleep
                a_timeout_does_not_interrupt_a_commit
                a_timeout_ends_a_quarrel
                a_bounded_sleep_is_woken_by_a_change
                nothing_is_left_behind_by_an_exhausted_transaction
                retry_timeout_waits_first_and_then_does_without
                retry_timeout_zero_and_never
                the_shortest_retry_timeout_of_several_sides_counts
                retry_timeout_works_in_a_transaction_with_hooks
                a_panicking_rollback_hook_leaves_no_time_to_the_next_transaction
                the_timeout_of_a_side_that_was_not_needed_wakes_no_later_one
                with_a_timeout_nothing_needs_to_be_read
                a_timeout_holds_through_wake_ups_in_vain
            }
        }
    };
}

/// What a world promises that is `Scheduled`.
macro_rules! scheduled_suite {
    ($type:path) => {
        instantiate! { $type;
            declared {
                declared_transactions_work_once_and_exclude_each_other
                a_declared_set_costs_nothing_where_no_other_interferes
                one_that_has_lost_reserves_all_before_it_goes_on
                one_that_reserves_reads_what_was_changed_before_that
                one_does_not_starve_at_what_it_has_not_declared
            }
            scheduling {
                a_reserved_cell_is_respected_until_it_is_released
                a_stopped_transaction_loses_its_reservations
                the_older_passes_the_reservation_of_the_younger
                a_bounded_transaction_leaves_the_queue_in_time
                a_panic_gives_reservations_back
                hooks_between_attempts_may_wait_in_queues_of_their_own
                transactions_that_give_up_early_get_past_a_stopped_one
                a_transaction_that_meets_two_stopped_ones_in_turn_gets_past_both
                a_report_names_the_cells_and_the_waiters
                a_report_counts_each_failed_attempt_where_it_failed
                every_policy_keeps_every_increment
                only_turns_knows_queues_and_reservations
                rules_of_the_programs_own_are_asked_and_obeyed
                no_rules_are_so_bad_that_an_increment_is_lost
                rules_that_panic_or_run_a_transaction_leave_it_to_turns
                settings_out_of_range_change_nothing
                the_quantum_says_how_often_the_processor_is_given_away
            }
        }
    };
}

/// What a world promises that counts all that happens.
macro_rules! counted_suite {
    ($type:path) => {
        instantiate! { $type;
            counts {
                a_snapshot_that_moves_forward_is_an_extension
                retries_waits_and_wakes
                a_retry_that_need_not_sleep_does_not_count_as_a_wait
            }
        }
    };
}

/// What a world promises that has `Operations`.
macro_rules! operations_suite {
    ($type:path) => {
        instantiate! { $type;
            operations {
                a_change_says_something
                what_a_repeated_change_says_is_of_the_attempt_that_commits
                a_wait_for_one_cell_ends_when_it_is_as_wanted
                a_wait_for_one_cell_can_be_bounded
                what_is_tried_once_commits_or_is_over
                of_two_bounds_the_tighter_counts
                a_part_that_waits_for_too_long_is_undone
                of_time_outs_inside_each_other_the_tighter_counts
            }
        }
    };
}

/// What a world promises whose hooks `Scopes` can borrow.
macro_rules! scoped_suite {
    ($type:path) => {
        instantiate! { $type;
            scoped {
                hooks_borrow_from_around_and_have_run_when_it_returns
                hooks_that_borrow_are_gone_when_an_error_or_a_panic_leaves
                a_hook_before_the_commit_sees_the_end_and_may_refuse
                a_hook_before_the_commit_may_ask_to_wait
                hooks_before_the_commit_run_in_order_and_may_register_more
                a_hook_of_a_failed_part_decides_nothing
                a_panic_before_the_commit_leaves_nothing
                each_attempt_has_values_of_its_own
                a_part_that_fails_takes_its_values_back
                values_are_dropped_when_nothing_can_bring_them_back
            }
        }
    };
}
