//! The gateway as a program: before a user's own servers, or as a part of the demonstration.

use crate::args::Options;
use crate::config::{Gateway as Settings, Policies};
use crate::routes::Upstream;
use crate::serve::{self, Gateway};
use crate::stack::Guards;
use crate::{child, clock, demo, health, scenario, term};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;
use tower_keep::health::Health;

/// The policies of the demonstration, when no file is given.
const DEMO_POLICIES: &str = include_str!("demo.toml");

fn policies(options: &Options) -> Result<Option<Policies>, String> {
    options
        .config
        .as_deref()
        .map(|file| Policies::load(file).map_err(|error| error.to_string()))
        .transpose()
}

/// Serves the user's upstreams when there are any, else demonstrates.
pub(crate) async fn user(options: Options) -> Result<ExitCode, String> {
    let policies = match policies(&options) {
        Ok(policies) => policies,
        Err(error) => {
            term::err(&format!("error: {error}"));
            return Ok(ExitCode::from(2));
        }
    };
    let serves = !options.upstreams.is_empty()
        || policies
            .as_ref()
            .is_some_and(|policies| !policies.gateway.upstreams.is_empty());
    let misplaced: &[(&str, bool)] = if serves {
        &[("--json", options.json), ("--seed", options.seed.is_some())]
    } else {
        &[
            ("--listen", options.listen.is_some()),
            ("--drain-timeout", options.drain_timeout.is_some()),
            ("--drain-delay", options.drain_delay.is_some()),
            ("--health-listen", options.health_listen.is_some()),
        ]
    };
    if let Some((flag, _)) = misplaced.iter().find(|(_, given)| *given) {
        let reason = if serves {
            "does not go with an upstream"
        } else {
            "needs an upstream"
        };
        term::err(&format!("error: {flag} {reason}\nsee --help"));
        return Ok(ExitCode::from(2));
    }
    if serves {
        return serve_until_signal(options, policies.unwrap_or_default()).await;
    }
    let seed = options.seed.unwrap_or(scenario::DEFAULT_SEED);
    demo::run(seed, options.json, options.config.as_deref()).await?;
    Ok(ExitCode::SUCCESS)
}

fn upstreams(options: &mut Options, settings: &Settings) -> Result<Vec<Upstream>, String> {
    if !options.upstreams.is_empty() {
        return Ok(std::mem::take(&mut options.upstreams));
    }
    settings
        .upstreams
        .iter()
        .map(|entry| Upstream::parse(&entry.prefix, &entry.url))
        .collect()
}

async fn serve_until_signal(mut options: Options, policies: Policies) -> Result<ExitCode, String> {
    let settings = &policies.gateway;
    let limit = options.drain_timeout.unwrap_or(settings.drain_timeout);
    let address = options
        .listen
        .or(settings.listen)
        .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
    let upstreams = upstreams(&mut options, settings)?;
    let mut signals = Signals::new()?;
    let listener = serve::bind(address).await?;
    let bound = listener.local_addr().map_err(|error| error.to_string())?;
    term::out(&format!("listening on http://{bound} (HTTP/1 and HTTP/2)"));
    for upstream in &upstreams {
        term::out(&format!("  {} -> {}", upstream.prefix, upstream.url()));
    }
    let limit_text = humantime::format_duration(limit);
    term::out(&format!(
        "  drain timeout {limit_text}; stop with Ctrl-C or SIGTERM"
    ));
    let guards = Guards::new(&policies);
    let told = options.health_listen.or(settings.health_listen);
    let delay = options.drain_delay.or(settings.drain_delay);
    let delay = delay.unwrap_or(told.map_or(Duration::ZERO, |_| health::DRAIN_DELAY));
    let health = match told {
        Some(address) => Some(healthy(address, &upstreams, &guards).await?),
        None => None,
    };
    let gateway = Gateway::new(upstreams, &policies, Some(&guards));
    let stop = async {
        signals.next().await;
        tokio::spawn(async move {
            signals.next().await;
            term::err("stopped without waiting any longer");
            std::process::exit(130);
        });
        if !delay.is_zero() {
            let delay = humantime::format_duration(delay);
            term::out(&format!("not ready any more: serving on for {delay}"));
        }
        match &health {
            Some(health) => health.drain(delay).await,
            None => clock::sleep(delay).await,
        }
        term::out(&format!(
            "draining: no new connections, waiting up to {limit_text} for what is in flight"
        ));
    };
    let drained = gateway.serve(listener, stop, limit).await;
    if drained.complete {
        term::out("drained");
        return Ok(ExitCode::SUCCESS);
    }
    term::err(&format!(
        "gave up after {limit_text} with {} in flight",
        drained.in_flight
    ));
    Ok(ExitCode::FAILURE)
}

/// Health on its own port.
async fn healthy(
    address: SocketAddr,
    upstreams: &[Upstream],
    guards: &Guards,
) -> Result<Health, String> {
    let listener = serve::bind(address).await?;
    let bound = listener.local_addr().map_err(|error| error.to_string())?;
    let health = health::start(upstreams, guards.registry())?;
    health::serve(&health, listener);
    term::out(&format!("  health on http://{bound}/readyz"));
    Ok(health)
}

/// The gateway of the demonstration, which ends with its parent.
pub(crate) async fn child(guarded: bool, mut options: Options) -> Result<(), String> {
    let mut commands = child::commands();
    let mut policies = match policies(&options)? {
        Some(policies) => policies,
        None => Policies::parse("demo.toml", DEMO_POLICIES).map_err(|error| error.to_string())?,
    };
    policies.gateway.max_in_flight = scenario::MAX_IN_FLIGHT;
    let upstreams = upstreams(&mut options, &policies.gateway)?;
    let listener = serve::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let guards = guarded.then(|| Guards::new(&policies));
    let gateway = Gateway::new(upstreams, &policies, guards.as_ref());
    tokio::spawn(gateway.serve(listener, std::future::pending(), Duration::ZERO));
    let _watchdog = guards.as_ref().map(Guards::watchdog).transpose()?;
    child::say_listening(address);
    while let Some(command) = commands.recv().await {
        if command.contains("stall") {
            stall().await;
        }
        let layers = guards.as_ref().map(Guards::layers).unwrap_or_default();
        term::out(&json!({"layers": layers}).to_string());
    }
    Ok(())
}

/// Blocks a worker of the runtime, as a call does that is not async.
#[allow(clippy::disallowed_methods, reason = "that is the fault")]
async fn stall() {
    let blocked = tokio::spawn(async { std::thread::sleep(scenario::STALL) });
    // It only sleeps: there is nothing to hear of it.
    let _ = blocked.await;
    // So that it is seen to be over.
    clock::sleep(scenario::STALL / 3).await;
}

/// Ctrl-C and, where it exists, SIGTERM.
#[derive(Debug)]
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> Result<Self, String> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |error: std::io::Error| format!("cannot listen for signals: {error}");
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    #[cfg(not(unix))]
    fn new() -> Result<Self, String> {
        Ok(Self {})
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
