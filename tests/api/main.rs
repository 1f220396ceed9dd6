//! What holds for the crate as a whole: its types, its messages, its sources.

mod demonstration;
mod messages;
mod source;
mod types;
