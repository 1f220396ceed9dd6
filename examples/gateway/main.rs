//! A reverse proxy guarded by `tower-keep`, and a demonstration of what the guard is worth.
//!
//! Without arguments it starts three upstream servers, of which one is slow and one fails, and
//! sends the same load through the bare and the guarded proxy:
//!
//! ```sh
//! cargo run --release --example gateway
//! ```
//!
//! With `--upstream` it is a gateway before your own servers; `--help` lists everything.

mod again;
mod args;
mod child;
mod client;
mod clock;
mod config;
mod demo;
mod expect;
mod headers;
mod health;
mod inflight;
mod load;
mod local;
mod patience;
mod problem;
mod proxy;
mod random;
mod real;
mod report;
mod routes;
mod scenario;
mod serve;
mod stack;
mod stats;
mod term;
mod tunnel;
mod upstream;

use args::Command;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = match args::parse(std::env::args().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            term::err(&format!("error: {error}\nsee --help"));
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            term::err(&format!("error: cannot start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(command));
    // What is left by now was given up on.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            term::err(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Help => term::out(args::HELP),
        Command::User(options) => return real::user(options).await,
        Command::Upstream { kind, port, seed } => upstream::run(kind, port, seed).await?,
        Command::Gateway { guarded, options } => real::child(guarded, options).await?,
        Command::Load { target, seed } => load::run(&target, seed).await?,
    }
    Ok(ExitCode::SUCCESS)
}
