//! An upstream server with a finite capacity.
//!
//! A pool of workers takes requests strictly in order of arrival, and a request that was accepted
//! is worked on to its end even when its client has gone: that is what makes overload hurt, for
//! such work keeps others waiting. In-order service by `n` workers needs no threads: an arriving
//! request takes the worker that is free first and occupies it from then on, so its end is known
//! at once.

use crate::scenario::Kind;
use crate::{child, clock, random::Deck, serve, term};
use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug)]
struct Pool {
    free_at: Vec<Instant>,
    service: Deck<f64>,
    failures: Deck<bool>,
    seen: u64,
}

impl Pool {
    /// Accepts a request: when it will be done, and whether it fails.
    fn accept(&mut self, now: Instant) -> (Instant, bool) {
        self.seen += 1;
        let service = Duration::from_secs_f64(self.service.deal().unwrap_or_default());
        let fails = self.failures.deal().unwrap_or_default();
        let done = match self.free_at.iter_mut().min() {
            Some(worker) => {
                *worker = now.max(*worker) + service;
                *worker
            }
            None => now + service,
        };
        (done, fails)
    }
}

pub(crate) async fn run(kind: Kind, port: u16, seed: u64) -> Result<(), String> {
    let mut commands = child::commands();
    let pool = Arc::new(Mutex::new(Pool {
        free_at: (0..kind.workers()).map(|_| clock::now()).collect(),
        service: kind.service_times(seed),
        failures: kind.failures(seed),
        seen: 0,
    }));
    let listener = serve::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let served = Arc::clone(&pool);
    let router = Router::new().fallback(move || {
        let pool = Arc::clone(&served);
        async move {
            let (done, fails) = pool
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .accept(clock::now());
            clock::sleep_until(done).await;
            answer(kind, fails)
        }
    });
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
