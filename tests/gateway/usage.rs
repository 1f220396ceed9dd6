//! The command line and the configuration file: what a user reads when something is wrong.

use crate::support::run;

fn config_error(name: &str, text: &str) -> String {
    let file = std::env::temp_dir().join(format!("gateway-{name}-{}.toml", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let shown = file.display().to_string();
    let output = run(&["--config", &shown, "--upstream", "http://127.0.0.1:1"]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(&shown), "no file in {error}");
    error.replace(&shown, "FILE")
}

#[test]
fn a_bad_configuration_names_file_key_and_reason() {
    for (name, text, expected) in [
        (
            "unit",
            "[gateway]\n\ndrain_timeout = \"5 parsecs\"\n",
            "FILE:3: gateway.drain_timeout: `5 parsecs` is not a duration such as \"250ms\"",
        ),
        (
            "unknown",
            "[gateway]\nlissten = \"127.0.0.1:1\"\n",
            "FILE:2: gateway.lissten: unknown field `lissten`",
        ),
        (
            "section",
            "[retri]\n",
            "FILE:1: retri: unknown field `retri`",
        ),
        (
            "type",
            "[gateway]\nmax_in_flight = \"many\"\n",
            "FILE:2: gateway.max_in_flight: invalid type: string \"many\"",
        ),
        (
            "zero",
            "[gateway]\nmax_in_flight = 0\n",
            "FILE: gateway.max_in_flight: must be at least 1",
        ),
        (
            "url",
            "[[gateway.upstream]]\nurl = \"ftp://a\"\n",
            "FILE: gateway.upstream[0]: `ftp://a`: the scheme `ftp` is not supported",
        ),
    ] {
        let error = config_error(name, text);
        assert!(error.contains(expected), "{name}: {error}");
    }
    let output = run(&["--config", "/does/not/exist.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("/does/not/exist.toml: cannot be read"),
        "{error}"
    );
}

#[test]
fn wrong_flags_are_told() {
    for (arguments, expected) in [
        (&["--wat"][..], "unknown flag `--wat`"),
        (&["wat"], "unexpected argument `wat`"),
        (&["--seed"], "--seed needs a value"),
        (&["--seed", "x"], "--seed: `x` is not a number"),
        (&["--json=1"], "--json takes no value"),
        (&["--upstream", "a:1"], "--upstream: `a:1` is not a URL"),
        (&["--listen", "here"], "--listen: `here` is not an address"),
        (
            &["--health-listen=:1"],
            "--health-listen: `:1` is not an address",
        ),
        (&["--drain-delay=x"], "--drain-delay: `x` is not a duration"),
        (&["--drain-delay=1s"], "--drain-delay needs an upstream"),
        (
            &["--drain-timeout=1"],
            "--drain-timeout: `1` is not a duration",
        ),
        (&["--listen=127.0.0.1:0"], "--listen needs an upstream"),
        (
            &["--json", "--upstream=http://a:1"],
            "--json does not go with an upstream",
        ),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn help_lists_every_flag() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for flag in [
        "--json",
        "--seed",
        "--upstream",
        "--listen",
        "--drain-timeout",
        "--drain-delay",
        "--health-listen",
        "--config",
        "--help",
    ] {
        assert!(text.contains(flag), "{flag}");
    }
}
