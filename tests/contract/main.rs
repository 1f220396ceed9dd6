//! Tower's contract, and ours, for every layer and kind of admission.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking, and takes handles as they come"
)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod allocations;
mod laws;
mod sizes;

for_passing_layers! {
    readiness_is_forwarded,
    what_was_readied_is_called,
    ready_stays_ready_until_the_call,
    errors_pass_untouched,
    dropped_anywhere_nothing_is_left,
    a_healthy_service_is_untouched,
    all_is_told_by_debug,
}

for_all_layers! {
    readiness_is_forwarded,
    an_unready_service_is_never_called,
    readiness_is_not_used_twice,
    a_success_is_counted_as_one,
    a_clone_carries_no_readiness,
    what_was_readied_is_called,
    ready_stays_ready_until_the_call,
    errors_pass_untouched,
    dropped_anywhere_nothing_is_left,
    polled_after_its_end_it_pends,
    a_healthy_service_is_untouched,
    all_is_told_by_debug,
}

mod choosing {
    for_choosing_layers! {
        a_success_is_counted_as_one,
        what_was_readied_is_called,
        dropped_anywhere_nothing_is_left,
        polled_after_its_end_it_pends,
        a_healthy_service_is_untouched,
        all_is_told_by_debug,
    }
    use super::laws;
}
