//! Processes that the example starts of itself, and the lines they exchange.
//!
//! Servers that share a process share its fate: a killed task is not a killed server, and one
//! allocator and one runtime hide who is slow. So every part is a process. A child reads commands
//! from its standard input, one JSON object a line, and answers the same way on its standard
//! output; at the end of its input it exits, so that no child outlives its parent, however that
//! ends.

use crate::term;
use serde_json::{Value, json};
use std::io::BufRead;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

/// How long a child may take for what it does at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running child, seen from its parent.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    process: tokio::process::Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub(crate) fn spawn(name: &str, arguments: &[String]) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot start {name}: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(format!("cannot start {name}: it has no pipes"));
        };
        Ok(Self {
            name: name.to_owned(),
            process,
            input,
            lines: BufReader::new(output).lines(),
        })
    }

    /// The next line, whenever it comes.
    pub(crate) async fn next(&mut self) -> Result<Value, String> {
        let name = &self.name;
        match self.lines.next_line().await {
            Ok(Some(line)) => serde_json::from_str(&line)
                .map_err(|error| format!("{name} wrote `{line}`: {error}")),
            Ok(None) => Err(format!("{name} ended early")),
            Err(error) => Err(format!("cannot read from {name}: {error}")),
        }
    }

    async fn soon(&mut self) -> Result<Value, String> {
        match tokio::time::timeout(PATIENCE, self.next()).await {
            Ok(line) => line,
            Err(_) => Err(format!("{} does not answer", self.name)),
        }
    }

    /// The address a server has bound.
    pub(crate) async fn address(&mut self) -> Result<String, String> {
        let line = self.soon().await?;
        match line.get("listening").and_then(Value::as_str) {
            Some(address) => Ok(address.to_owned()),
            None => Err(format!(
                "{} wrote {line} in place of its address",
                self.name
            )),
        }
    }

    /// Asks for a report.
    pub(crate) async fn report(&mut self) -> Result<Value, String> {
        self.ask("report").await
    }

    /// Asks it to do something, and waits for its answer.
    pub(crate) async fn ask(&mut self, what: &str) -> Result<Value, String> {
        let command = format!("{}\n", json!({"command": what}));
        self.input
            .write_all(command.as_bytes())
            .await
            .map_err(|error| format!("cannot write to {}: {error}", self.name))?;
        self.soon().await
    }

    /// Kills the process, as a crash would, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<(), String> {
        self.process
            .kill()
            .await
            .map_err(|error| format!("cannot kill {}: {error}", self.name))
    }
}

/// The child's side: the commands of the parent. The process exits when the parent is gone.
pub(crate) fn commands() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    // A thread, so that a busy or blocked runtime cannot keep the process alive.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    receiver
}

/// Tells the parent where this child listens.
pub(crate) fn say_listening(address: std::net::SocketAddr) {
    term::out(&json!({"listening": address.to_string()}).to_string());
}
