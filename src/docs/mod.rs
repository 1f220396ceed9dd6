//! Longer texts.

#[doc = include_str!("order.md")]
pub mod order {}

#[cfg_attr(
    feature = "http",
    doc = "[`respond`]: crate::respond()",
    doc = "[`respond_or`]: crate::respond_or()",
    doc = ""
)]
#[cfg_attr(
    not(feature = "http"),
    doc = "[`respond`]: https://docs.rs/tower-keep/latest/tower_keep/fn.respond.html",
    doc = "[`respond_or`]: https://docs.rs/tower-keep/latest/tower_keep/fn.respond_or.html",
    doc = ""
)]
#[doc = include_str!("errors.md")]
pub mod errors {}

#[doc = include_str!("cancel_safety.md")]
pub mod cancel_safety {}

#[doc = include_str!("sharing.md")]
pub mod sharing {}

#[doc = include_str!("tuning.md")]
pub mod tuning {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[cfg(feature = "watchdog")]
#[doc = include_str!("stalls.md")]
pub mod stalls {}

#[doc = include_str!("timers.md")]
pub mod timers {}
