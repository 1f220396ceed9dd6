//! An upstream server with a finite capacity.
//!
//! A pool of workers takes requests strictly in order of arrival, and a request that was accepted
//! is worked on to its end even when its client has gone: that is what makes overload hurt, for
//! such work keeps others waiting. In-order service by `n` workers needs no threads: an arriving
//! request takes the worker that is free first and occupies it from then on, so its end is known
//! at once.
//!
//! What fails, fails by a chaos layer behind the workers: a failure takes as long as an answer.

use crate::scenario::Kind;
use crate::{child, clock, random::Deck, serve, term};
use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Request, Response, StatusCode};
use axum::middleware::{Next, from_fn};
use serde_json::json;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tower_keep::Setup;
use tower_keep::chaos::{self, ChaosLayer};

#[derive(Debug)]
struct Pool {
    free_at: Vec<Instant>,
    service: Deck<f64>,
    seen: u64,
}

impl Pool {
    /// Accepts a request: when it will be done.
    fn accept(&mut self, now: Instant) -> Instant {
        self.seen += 1;
        let service = Duration::from_secs_f64(self.service.deal().unwrap_or_default());
        match self.free_at.iter_mut().min() {
            Some(worker) => {
                *worker = now.max(*worker) + service;
                *worker
            }
            None => now + service,
        }
    }
}

pub(crate) async fn run(kind: Kind, port: u16, seed: u64) -> Result<(), String> {
    let mut commands = child::commands();
    let pool = Arc::new(Mutex::new(Pool {
        free_at: (0..kind.workers()).map(|_| clock::now()).collect(),
        service: kind.service_times(seed),
        seen: 0,
    }));
    let listener = serve::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let served = Arc::clone(&pool);
    let faults = kind.faults(seed).map_err(|error| error.to_string())?;
    let failure = move |_, _: &Request<Body>| -> Option<Result<_, tower_keep::Error<Infallible>>> {
        Some(Ok(answer(kind, true)))
    };
    let chaos = ChaosLayer::with(faults, Setup::named(kind.name())).faults(chaos::by(failure));
    chaos.handle().start();
    let router = Router::new()
        .fallback(move || async move { answer(kind, false) })
        .layer(tower_keep::respond(chaos))
        .layer(from_fn(move |request: Request<Body>, next: Next| {
            let pool = Arc::clone(&served);
            async move {
                let done = pool
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .accept(clock::now());
                clock::sleep_until(done).await;
                next.run(request).await
            }
        }));
    tokio::spawn(serve::Gateway::plain(router).serve(
        listener,
        std::future::pending(),
        Duration::ZERO,
    ));
    child::say_listening(address);
    while commands.recv().await.is_some() {
        let seen = pool.lock().unwrap_or_else(PoisonError::into_inner).seen;
        term::out(&json!({"seen": seen}).to_string());
    }
    Ok(())
}

fn answer(kind: Kind, fails: bool) -> Response<Body> {
    let body = json!({"upstream": kind.name(), "ok": !fails});
    let mut response = Response::new(Body::from(body.to_string()));
    if fails {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
