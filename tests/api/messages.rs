//! What the compiler says to somebody whose types do not fit.

use std::process::Command;

/// The compiler that wrote the `.stderr` files: others word the rest of an error
/// in other ways. `TRYBUILD=overwrite cargo test --test api` writes them anew.
const WRITTEN_BY: &str = "rustc 1.95.";

#[test]
fn types_that_do_not_fit_are_explained() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    if !version.starts_with(WRITTEN_BY) {
        println!("not compared: the messages of {WRITTEN_BY}* are stored, this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/api/unfit/*.rs");
}

#[test]
fn the_messages_name_the_way_out() {
    let of = |file: &str| {
        let path = format!(
            "{}/tests/api/unfit/{file}.stderr",
            env!("CARGO_MANIFEST_DIR")
        );
        std::fs::read_to_string(path).unwrap()
    };
    for (file, way_out) in [
        ("error", "cannot carry a rejection of a tower-keep layer"),
        ("error", "put `tower_keep::LiftLayer` innermost"),
        (
            "router",
            "wrap the whole stack in `tower_keep::respond(stack)`",
        ),
        (
            "router_boxed",
            "`tower_keep::respond_or(stack, |error| response)`",
        ),
        ("key", "cannot read a key from `u32`"),
        ("cost", "cost::by("),
        ("limit", "timeout::by("),
        ("queue", "the trait bound `Only: Clone` is not satisfied"),
        ("body", "`until_body_end()` is for `http::Response<B>`"),
        ("classifier", "`classify::ErrorsOnly` any response"),
        ("answer", "cannot answer `u32` in place of a service"),
        ("replay", "the trait bound `Once: Clone` is not satisfied"),
        ("replay", "replay::Cloned` to implement `Replay<Once>`"),
        ("rules", "has no rules for a service of `u32`"),
        ("rules", "retry::when("),
        ("hedge", "`hedge::when(|request| ..)`"),
        ("http", "implemented for `tower_keep::deadline::Read<S>`"),
        ("problem", "`ProblemBody` to implement `RejectBody"),
    ] {
        let message = of(file);
        assert!(message.contains(way_out), "{file}: {message}");
        assert!(!message.contains("E0599"), "{file}: {message}");
    }
}
