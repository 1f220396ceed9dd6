//! Lines for people and for programs.
//!
//! Writing to a closed pipe is no reason to panic: whoever read has gone, and so the line is
//! dropped.

use std::io::Write;

pub(crate) fn out(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

pub(crate) fn err(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
