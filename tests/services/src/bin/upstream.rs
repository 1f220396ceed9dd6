//! A server that can be killed: it says where it listens, and ends with its input.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use tokio::net::TcpListener;
use tower_keep_services::pause;

#[tokio::main]
async fn main() {
    let port = std::env::args()
        .nth(1)
        .map_or(0, |port| port.parse().unwrap());
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut output = std::io::stdout();
    output.write_all(format!("{port}\n").as_bytes()).unwrap();
    output.flush().unwrap();
    // Nobody outlives the test that started it.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let answer = move || async move {
        pause(Duration::from_millis(10)).await;
        port.to_string()
    };
    axum::serve(listener, Router::new().route("/", any(answer)))
        .await
        .unwrap();
}
