//! What becomes of a process, in one of its own: this binary once more, with one test.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use std::{env, fs};

use tower_keep::Setup;
use tower_keep::clock::Clock;
use tower_keep::watchdog::{HeartbeatFile, Then, Watchdog};

use crate::bench::ms;

const ROLE: &str = "KEEP_WATCHDOG_CHILD";
const BEATS: &str = "KEEP_WATCHDOG_BEATS";

/// The child: its only task stands still after some progress.
#[test]
fn stands_still_if_it_is_the_child() {
    let Ok(role) = env::var(ROLE) else { return };
    let then = match role.as_str() {
        "abort" => Then::Abort,
        "recovers" => Then::Exit(1),
        _ => Then::Exit(70),
    };
    let beats = env::var_os(BEATS).unwrap();
    let builder = Watchdog::builder(Setup::named("child"));
    let hangs = role == "hangs";
    let watchdog = builder
        .to_stderr()
        .heartbeat(HeartbeatFile::new(&beats), ms(20))
        .on_expiry(move |_| {
            eprintln!("hook");
            if hangs {
                loop {
                    std::thread::park();
                }
            }
        })
        .then(then)
        .grace(ms(300))
        .patience(ms(500))
        .start()
        .unwrap();
    let kicker = watchdog.task("copy", ms(200)).unwrap();
    let clock = Clock::system();
    let begun = clock.now();
    let passed = || clock.now().saturating_since(begun);
    let mut told = false;
    while passed() < Duration::from_secs(20) {
        if passed() < ms(400) {
            kicker.kick();
        }
        // It comes to itself in the time of grace.
        if role == "recovers" && watchdog.snapshot().expiries > 0 {
            told = true;
            kicker.pause();
        }
        if told && passed() > Duration::from_secs(2) {
            std::process::exit(0);
        }
        std::thread::yield_now();
    }
}

/// The child, and where it beats.
fn command(role: &str) -> (Command, PathBuf) {
    let beats = format!("keep-child-{role}-{}", std::process::id());
    let beats = env::temp_dir().join(beats);
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "process::stands_still_if_it_is_the_child"])
        .arg("--nocapture")
        .env(ROLE, role)
        .env(BEATS, &beats);
    (command, beats)
}

fn child(role: &str) -> Output {
    let (mut command, beats) = command(role);
    let output = command.output().unwrap();
    fs::remove_file(beats).unwrap();
    output
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn fault_085_a_process_that_stands_still_ends_with_its_code_and_its_diagnostics() {
    let output = child("exit");
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(70), "{stderr}");
    let told = stderr.find("watchdog: task \"copy\": no progress for");
    let hook = stderr.find("hook");
    assert!(told.is_some() && told < hook, "{stderr}");
    assert!(stderr.contains("  task \"copy\": expired"), "{stderr}");
}

#[test]
fn it_aborts_where_it_shall_abort() {
    const SIGABRT: i32 = 6;
    let output = child("abort");
    let stderr = stderr(&output);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{stderr}");
    assert!(stderr.contains("no progress"), "{stderr}");
}

#[test]
fn a_hook_that_hangs_does_not_keep_it_alive() {
    let output = child("hangs");
    assert_eq!(output.status.code(), Some(70), "{}", stderr(&output));
}

#[test]
fn it_lives_on_if_it_comes_to_itself_in_its_time_of_grace() {
    let output = child("recovers");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// Somebody outside sees the file grow old before the process ends.
#[test]
fn the_heartbeat_file_of_a_process_that_stands_still_grows_old() {
    let (mut command, beats) = command("grows-old");
    command.stderr(Stdio::null()).stdout(Stdio::null());
    let mut running = command.spawn().unwrap();
    let clock = Clock::system();
    let mut oldest = Duration::ZERO;
    // What the file said last, and since when.
    let mut seen = None;
    while running.try_wait().unwrap().is_none() {
        if let Ok(text) = fs::read_to_string(&beats) {
            let now = clock.now();
            match &seen {
                Some((last, since)) if *last == text => {
                    oldest = oldest.max(now.saturating_since(*since));
                }
                _ => seen = Some((text, now)),
            }
        }
        std::thread::yield_now();
    }
    assert!(seen.is_some(), "there was no heartbeat");
    // Of beats every 20 ms, none came in the time of grace.
    assert!(oldest >= ms(250), "{oldest:?}");
    fs::remove_file(beats).unwrap();
}
