//! Side by side with other crates.
fn main() {}
