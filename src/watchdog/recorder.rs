//! The last events, for whoever looks for the reason.

use std::fmt::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::event::{Event, Listener, Source};

/// Events that are kept.
const EVENTS: usize = 64;
/// Bytes of each.
const BYTES: usize = 120;

/// Keeps the last 64 events that it hears, 120 bytes of each, for the diagnostics of an
/// expiry. Give it to layers or a [`Registry`](crate::Registry) as a listener; clones are
/// the same.
///
/// It allocates nothing while it listens. Where two threads tell at once, one of the
/// events may be left out, and ends of calls that succeeded are.
#[derive(Clone)]
pub struct Recorder(Arc<Mutex<Ring>>);

struct Ring {
    /// How many have been told.
    told: usize,
    lines: Box<[Line; EVENTS]>,
}

#[derive(Clone, Copy)]
struct Line {
    len: usize,
    bytes: [u8; BYTES],
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(text.bytes()) {
            *to = from;
            self.len += 1;
        }
        Ok(())
    }
}

impl Recorder {
    /// It has heard nothing.
    #[must_use]
    pub fn new() -> Self {
        let empty = Line {
            len: 0,
            bytes: [0; BYTES],
        };
        Self(Arc::new(Mutex::new(Ring {
            told: 0,
            lines: Box::new([empty; EVENTS]),
        })))
    }

    /// What it has heard, the oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        let ring = self.0.lock();
        let first = ring.told.saturating_sub(EVENTS);
        let line = |number: usize| {
            let line = &ring.lines[number % EVENTS];
            String::from_utf8_lossy(line.bytes.get(..line.len).unwrap_or_default()).into_owned()
        };
        (first..ring.told).map(line).collect()
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Listener for Recorder {
    fn on_event(&self, source: &Source<'_>, event: &Event<'_>) {
        if let Event::Finished(crate::classify::Outcome::Success) | Event::Kicked(_) = event {
            return;
        }
        let Some(mut ring) = self.0.try_lock() else {
            return;
        };
        let told = ring.told;
        ring.told += 1;
        let line = &mut ring.lines[told % EVENTS];
        line.len = 0;
        let _ = write!(line, "{} {:?}: {event:?}", source.pattern, source.name);
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.events()).finish()
    }
}
