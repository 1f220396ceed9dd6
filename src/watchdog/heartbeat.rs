//! Signs of life for somebody outside of the process.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

/// Where signs of life go.
///
/// Each one has a thread of its own, so it may block: while it does, its beats are left
/// out and counted, and nothing else waits. Whoever looks for the beats should allow for
/// two of them to be missing.
pub trait Heartbeat: Send + 'static {
    /// There is progress. A panic is contained.
    ///
    /// # Errors
    /// Are counted, and change nothing.
    fn beat(&mut self, beat: Beat) -> io::Result<()>;
}

impl<F> Heartbeat for F
where
    F: FnMut(Beat) -> io::Result<()> + Send + 'static,
{
    fn beat(&mut self, beat: Beat) -> io::Result<()> {
        self(beat)
    }
}

/// One sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Beat {
    /// Its number: the first is 1. Numbers are left out where beats are.
    pub number: u64,
}

/// A file that is written anew with each beat, as a whole: whoever reads it sees this
/// beat or the last. Its age tells how long progress is ago:
/// `find heartbeat -mmin +1` finds it when that is over a minute.
///
/// It holds a line `pid=` and a line `beat=`. Beside it, under the same name with `.tmp`
/// and the number of the process appended, the next one is written.
#[derive(Debug, Clone)]
pub struct HeartbeatFile {
    path: PathBuf,
    next: PathBuf,
}

impl HeartbeatFile {
    /// At this path; its directory must exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let mut next = path.clone().into_os_string();
        next.push(format!(".tmp{}", std::process::id()));
        Self {
            path,
            next: next.into(),
        }
    }
}

impl Heartbeat for HeartbeatFile {
    fn beat(&mut self, beat: Beat) -> io::Result<()> {
        let mut file = fs::File::create(&self.next)?;
        let pid = std::process::id();
        write!(file, "pid={pid}\nbeat={}\n", beat.number)?;
        drop(file);
        fs::rename(&self.next, &self.path)
    }
}
