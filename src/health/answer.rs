//! What is told of health: `application/health+json`
//! (draft-inadarei-api-health-check-06), and lines for people as the Kubernetes API
//! server has them.

use std::fmt::Write;

use humantime::format_rfc3339_millis;

use super::handle::CheckSnapshot;
use super::policy::Group;
use super::state::{Entry, State};
use crate::http::problem::write_json;
use crate::probe::Status;

/// What is told to those who may not see details.
pub(super) const fn bare(status: Status) -> &'static str {
    match status {
        Status::Pass => r#"{"status":"pass"}"#,
        Status::Warn => r#"{"status":"warn"}"#,
        Status::Fail => r#"{"status":"fail"}"#,
    }
}

/// Writes `,"name":` and a string.
fn field(out: &mut String, name: &str, text: &str) {
    // Writing to a `String` never fails.
    let _ = write!(out, ",\"{name}\":");
    write_json(out, text);
}

/// A JSON array of strings.
fn list<'a>(out: &mut String, name: &str, texts: impl Iterator<Item = &'a str>) {
    let _ = write!(out, ",\"{name}\":[");
    for (at, text) in texts.enumerate() {
        out.push_str(if at == 0 { "" } else { "," });
        write_json(out, text);
    }
    out.push(']');
}

/// All that is known of a group, or of some checks of it.
pub(super) fn json<'a>(
    state: &State,
    group: Option<Group>,
    status: Status,
    entries: impl Iterator<Item = &'a Entry>,
) -> String {
    let mut out = String::with_capacity(1024);
    let _ = write!(out, "{{\"status\":\"{}\"", status.label());
    if let Some(why) = state.why(group).filter(|_| !status.works()) {
        field(&mut out, "output", &why);
    }
    for (name, text) in &state.about.fields {
        field(&mut out, name, text);
    }
    if !state.about.notes.is_empty() {
        list(
            &mut out,
            "notes",
            state.about.notes.iter().map(|note| &**note),
        );
    }
    let mut before = ",\"checks\":{";
    for entry in entries {
        out.push_str(before);
        before = ",";
        one(&mut out, entry, &state.look(entry));
    }
    out.push_str(if before == "," { "}}" } else { "}" });
    out
}

/// A check: a key of its name and its measurement, and an array of one object.
fn one(out: &mut String, entry: &Entry, seen: &CheckSnapshot) {
    let measured = seen.observed;
    let measurement = measured.map_or("responseTime", |observed| observed.measurement);
    // Neither can hold a character that JSON escapes, or a colon: checked for the
    // name, and cut off here.
    let good = |char: &char| char.is_ascii_alphanumeric();
    let measurement: String = measurement.chars().filter(good).collect();
    let status = seen.status.label();
    let _ = write!(
        out,
        "\"{}:{measurement}\":[{{\"status\":\"{status}\"",
        seen.name
    );
    if let Some(component) = entry.component {
        field(out, "componentType", component.label());
    }
    if let Some(observed) = measured {
        let _ = write!(out, ",\"observedValue\":{}", observed.value);
        field(out, "observedUnit", observed.unit);
    } else if let Some(took) = seen.took {
        let _ = write!(out, ",\"observedValue\":{}", took.as_micros());
        field(out, "observedUnit", "us");
    }
    if let Some(time) = seen.time {
        let _ = write!(out, ",\"time\":\"{}\"", format_rfc3339_millis(time));
    }
    if seen.status != Status::Pass {
        if !entry.affected.is_empty() {
            list(
                out,
                "affectedEndpoints",
                entry.affected.iter().map(|path| &**path),
            );
        }
        if !seen.output.is_empty() {
            field(out, "output", &seen.output);
        }
    }
    out.push_str("}]");
}

/// A line for each check, and one for the whole.
pub(super) fn lines<'a>(
    state: &State,
    title: &str,
    group: Option<Group>,
    status: Status,
    entries: impl Iterator<Item = (&'a Entry, bool)>,
) -> String {
    let mut out = String::with_capacity(512);
    for (entry, is_left_out) in entries {
        let seen = state.look(entry);
        let (name, output) = (&seen.name, printable(&seen.output));
        let _ = match seen.status {
            _ if is_left_out => writeln!(out, "[+]{name} excluded: ok"),
            Status::Pass => writeln!(out, "[+]{name} ok"),
            Status::Warn => writeln!(out, "[+]{name} warns: {output}"),
            Status::Fail => writeln!(out, "[-]{name} failed: {output}"),
        };
    }
    if let Some(why) = state.why(group).filter(|_| !status.works()) {
        let _ = writeln!(out, "[-]{}", printable(&why));
    }
    let end = if status.works() { "passed" } else { "failed" };
    let _ = writeln!(out, "{title} check {end}");
    out
}

/// What somebody else has said, on one line.
fn printable(text: &str) -> String {
    let plain = |char: char| if char.is_control() { ' ' } else { char };
    text.chars().map(plain).collect()
}
