//! The demonstration: the same load and the same faults, through the bare and the guarded proxy.
//!
//! Each pass starts everything anew, so that nothing of the first one is left for the second.

use crate::child::Child;
use crate::scenario::{self, DURATION, Kind, OUTAGE};
use crate::stats::rounded;
use crate::{clock, report, term};
use serde_json::{Map, Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::time::Instant;

pub(crate) async fn run(seed: u64, json: bool, config: Option<&Path>) -> Result<(), String> {
    let arrivals = scenario::schedule(seed);
    let servable = Kind::ALL.map(|kind| scenario::servable(kind, &arrivals));
    let total: f64 = servable.iter().sum();
    term::err(&format!(
        "{} requests in {} s, of which {total:.0} can be served; seed {seed}",
        arrivals.len(),
        DURATION.as_secs()
    ));
    let (bare, _) = pass("bare", seed, config).await?;
    let (guarded, layers) = pass("guarded", seed, config).await?;
    let per_route = |value: &dyn Fn(Kind) -> f64| -> Map<String, Value> {
        Kind::ALL
            .into_iter()
            .map(|kind| (kind.name().to_owned(), json!(rounded(value(kind)))))
            .collect()
    };
    let result = json!({
        "seed": seed,
        "duration_s": DURATION.as_secs_f64(),
        "servable": total.round(),
        "survivors_capacity_per_s": rounded(total / DURATION.as_secs_f64()),
        "servable_by_route": per_route(&|kind| servable[kind.index()]),
        "capacity_per_s": per_route(&Kind::capacity),
        "bare": bare,
        "guarded": guarded,
        "layers": layers,
    });
    if json {
        term::out(&result.to_string());
    } else {
        report::print(&result);
    }
    Ok(())
}

/// A port that stays ours while the server on it is dead.
///
/// The operating system would otherwise lend it to one of the many outgoing connections, and the
/// server could not come back. A bound socket that does not listen refuses connections and lets
/// another listen on its port.
struct Port(
    #[allow(dead_code, reason = "holds the port")] TcpSocket,
    u16,
);

impl Port {
    fn reserve() -> Result<Self, String> {
        let reserve = || {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            let port = socket.local_addr()?.port();
            Ok((socket, port))
        };
        match reserve() {
            Ok((socket, port)) => Ok(Self(socket, port)),
            Err::<_, std::io::Error>(error) => Err(format!("cannot reserve a port: {error}")),
        }
    }
}

async fn start_upstream(kind: Kind, port: u16, seed: u64) -> Result<Child, String> {
    let arguments = [
        "--role".to_owned(),
        "upstream".to_owned(),
        format!("--kind={}", kind.name()),
        format!("--port={port}"),
        format!("--seed={seed}"),
    ];
    let mut child = Child::spawn(kind.name(), &arguments)?;
    child.address().await?;
    Ok(child)
}

/// One run of the whole scenario: the report of the load, and the snapshots of the layers.
async fn pass(mode: &str, seed: u64, config: Option<&Path>) -> Result<(Value, Value), String> {
    let mut upstreams = Vec::new();
    let mut ports = Vec::new();
    let mut arguments = vec!["--role=gateway".to_owned(), format!("--mode={mode}")];
    for kind in Kind::ALL {
        let port = Port::reserve()?;
        upstreams.push(start_upstream(kind, port.1, seed).await?);
        arguments.push(format!(
            "--upstream={}=http://127.0.0.1:{}",
            kind.prefix(),
            port.1
        ));
        ports.push(port);
    }
    if let Some(config) = config {
        arguments.push(format!("--config={}", config.display()));
    }
    let mut gateway = Child::spawn("the gateway", &arguments)?;
    let address = gateway.address().await?;
    let mut load = Child::spawn(
        "the load generator",
        &[
            "--role=load".to_owned(),
            format!("--target={address}"),
            format!("--seed={seed}"),
        ],
    )?;
    load.next().await?;
    let start = clock::now();
    let failing = Kind::Failing.index();
    let outage = outage(&mut upstreams[failing], ports[failing].1, seed, start);
    let (report, seen_before_outage) = tokio::try_join!(watch(&mut load, mode), outage)?;
    let mut seen = Map::new();
    let mut sick = 0;
    for (kind, upstream) in Kind::ALL.into_iter().zip(&mut upstreams) {
        let mut count = upstream.report().await?["seen"].as_u64().unwrap_or(0);
        if kind == Kind::Failing {
            count += seen_before_outage;
        }
        if kind != Kind::Healthy {
            sick += count;
        }
        seen.insert(kind.name().to_owned(), json!(count));
    }
    // When the load is over, lest it is measured.
    if mode == "guarded" {
        gateway.ask("stall").await?;
    }
    let layers = gateway.report().await?["layers"].take();
    let Value::Object(mut report) = report else {
        return Err("the load generator reported nothing".to_owned());
    };
    report.remove("event");
    report.insert("sick_upstream_requests".to_owned(), json!(sick));
    report.insert("upstream_requests".to_owned(), seen.into());
    Ok((report.into(), layers))
}

/// Kills the upstream in the middle of its work and starts it again; gives what it had seen.
async fn outage(upstream: &mut Child, port: u16, seed: u64, start: Instant) -> Result<u64, String> {
    clock::sleep_until(start + Duration::from_secs_f64(OUTAGE.0)).await;
    let seen = upstream.report().await?["seen"].as_u64().unwrap_or(0);
    upstream.kill().await?;
    clock::sleep_until(start + Duration::from_secs_f64(OUTAGE.1)).await;
    *upstream = start_upstream(Kind::Failing, port, seed.wrapping_add(1)).await?;
    Ok(seen)
}

/// Shows the progress of the load until its report.
async fn watch(load: &mut Child, mode: &str) -> Result<Value, String> {
    loop {
        let line = load.next().await?;
        if line["event"] == "done" {
            return Ok(line);
        }
        report::progress(mode, &line);
    }
}
