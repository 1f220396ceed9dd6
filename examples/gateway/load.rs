//! The load generator: an open loop.
//!
//! Real clients do not wait for each other. A generator that sends the next request after the last
//! answer slows down with the server it measures and hides the trouble (coordinated omission). So
//! arrivals follow a schedule made beforehand, latency counts from the *scheduled* time, and a
//! client that has no answer after its deadline goes away: it closes its connection, and the
//! request is a failure at the deadline.

use crate::problem::CAUSE;
use crate::scenario::{self, Arrival, DEADLINE, DURATION, Kind};
use crate::stack::FALLBACK;
use crate::stats::{Answer, Outcome, Stats};
use crate::{child, clock, term};
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

type Http = Client<HttpConnector, Body>;

pub(crate) async fn run(target: &str, seed: u64) -> Result<(), String> {
    // Nothing is asked of this child, but it must see the end of its parent.
    let _commands = child::commands();
    let arrivals = scenario::schedule(seed);
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Http = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector);
    let (results, collected) = mpsc::unbounded_channel();
    let start = clock::now();
    term::out(&json!({"event": "started"}).to_string());
    let collector = tokio::spawn(collect(collected, start, arrivals.len()));
    for arrival in arrivals {
        let due = start + Duration::from_secs_f64(arrival.at);
        clock::sleep_until(due).await;
        let uri = format!("http://{target}{}/work", arrival.kind.prefix());
        tokio::spawn(client_task(
            client.clone(),
            uri,
            arrival,
            due,
            results.clone(),
        ));
    }
    drop(results);
    let mut report = collector.await.map_err(|error| error.to_string())?;
    if let Some(report) = report.as_object_mut() {
        report.insert("event".to_owned(), json!("done"));
    }
    term::out(&report.to_string());
    Ok(())
}

async fn client_task(
    client: Http,
    uri: String,
    arrival: Arrival,
    due: Instant,
    results: mpsc::UnboundedSender<Outcome>,
) {
    let answer = tokio::time::timeout_at(due + DEADLINE, ask(client, uri)).await;
    let (latency, answer) = match answer {
        Ok(answer) => (clock::since(due).min(DEADLINE), answer),
        Err(_) => (DEADLINE, Answer::Failed("timeout".to_owned())),
    };
    // The collector is gone only when the whole run is.
    let _ = results.send(Outcome {
        kind: arrival.kind,
        latency,
        answer,
    });
}

/// Asks once.
async fn ask(client: Http, uri: String) -> Answer {
    let failed = |cause: &str| Answer::Failed(cause.to_owned());
    let Ok(request) = Request::get(uri).body(Body::empty()) else {
        return failed("request");
    };
    let Ok(response) = client.request(request).await else {
        return failed("connection");
    };
    let (head, body) = response.into_parts();
    if body.collect().await.is_err() {
        return failed("connection");
    }
    if head.headers.contains_key(FALLBACK) {
        return Answer::Degraded;
    }
    if head.status.is_success() {
        return Answer::Good;
    }
    let named = head
        .headers
        .get(CAUSE)
        .and_then(|cause| cause.to_str().ok());
    Answer::Failed(named.map_or_else(|| format!("status_{}", head.status.as_u16()), str::to_owned))
}

/// Gathers the outcomes, with a line for each second, until all clients are done.
async fn collect(
    mut outcomes: mpsc::UnboundedReceiver<Outcome>,
    start: Instant,
    offered: usize,
) -> serde_json::Value {
    let mut all = Stats::default();
    let mut routes: [Stats; 3] = Default::default();
    let mut last = Stats::default();
    let mut second = 1_u32;
    loop {
        let tick = start + Duration::from_secs(u64::from(second));
        let outcome = tokio::select! {
            biased;
            () = clock::sleep_until(tick) => {
                let line = json!({
                    "event": "second",
                    "second": second,
                    "offered": last.offered(),
                    "ok": last.ok(),
                    "p99_ms": last.percentile(990),
                });
                term::out(&line.to_string());
                last = Stats::default();
                second += 1;
                continue;
            }
            outcome = outcomes.recv() => outcome,
        };
        let Some(outcome) = outcome else { break };
        last.add(&outcome);
        all.add(&outcome);
        routes[outcome.kind.index()].add(&outcome);
    }
    let mut report = all.to_json(DURATION);
    if let Some(report) = report.as_object_mut() {
        report.insert("scheduled".to_owned(), json!(offered));
        let routes: serde_json::Map<_, _> = Kind::ALL
            .into_iter()
            .map(|kind| {
                let route = routes[kind.index()].to_json(DURATION);
                (kind.name().to_owned(), route)
            })
            .collect();
        report.insert("routes".to_owned(), routes.into());
    }
    report
}
