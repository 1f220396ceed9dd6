//! Deadlines on the wire.

use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::{Clock, Tick};
use crate::deadline::{Deadline, Scope, Scoped};

static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How a deadline travels: as the time that is left, never as a point in time,
/// since the clocks of two machines differ.
///
/// A header that is there more than once, or that cannot be read, is as good as
/// none, and nobody is told: a deadline that nobody meant must not end a request,
/// and what anybody may send is no fault of the service. With
/// [`ReadLayer::at_most`] such a request gets the longest time, as one without the
/// header does. Unreadable are signs, fractions, spaces, other units, more than
/// eight digits of `grpc-timeout` and more than 18 of milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wire {
    /// `grpc-timeout`: at most eight digits and a unit of `H`, `M`, `S`, `m`,
    /// `u` or `n` ("gRPC over HTTP/2", section Requests).
    Grpc,
    /// A header of this name with whole milliseconds.
    Millis(HeaderName),
}

impl Wire {
    /// A header with whole milliseconds.
    #[must_use]
    pub fn millis(name: HeaderName) -> Self {
        Self::Millis(name)
    }

    fn header(&self) -> &HeaderName {
        match self {
            Self::Grpc => &GRPC_TIMEOUT,
            Self::Millis(name) => name,
        }
    }

    /// The time left, if the header is there exactly once and readable. What
    /// cannot be read is ignored: a deadline that nobody meant must not end a
    /// request.
    fn read(&self, headers: &HeaderMap) -> Option<Duration> {
        let mut values = headers.get_all(self.header()).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        match self {
            Self::Grpc => parse_grpc(value.as_bytes()),
            Self::Millis(_) => {
                let digits = value.as_bytes();
                (digits.len() <= 18)
                    .then(|| parse_digits(digits))?
                    .map(Duration::from_millis)
            }
        }
    }

    fn write(&self, left: Duration) -> HeaderValue {
        match self {
            Self::Grpc => grpc_value(left),
            // Rounded down: the other side must not believe it has longer.
            Self::Millis(_) => {
                HeaderValue::from(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}

fn parse_digits(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

fn parse_grpc(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.len() > 8 {
        return None;
    }
    let n = parse_digits(digits)?;
    Some(match unit {
        b'H' => Duration::from_secs(n.saturating_mul(3600)),
        b'M' => Duration::from_secs(n.saturating_mul(60)),
        b'S' => Duration::from_secs(n),
        b'm' => Duration::from_millis(n),
        b'u' => Duration::from_micros(n),
        b'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

/// The finest unit that fits eight digits, rounded down.
fn grpc_value(left: Duration) -> HeaderValue {
    let nanos = left.as_nanos();
    let units = [
        ('n', 1),
        ('u', 1_000),
        ('m', 1_000_000),
        ('S', 1_000_000_000),
        ('M', 60_000_000_000),
        ('H', 3_600_000_000_000u128),
    ];
    let (n, unit) = units
        .iter()
        .map(|(unit, size)| (nanos / size, *unit))
        .find(|(n, _)| *n <= 99_999_999)
        .unwrap_or((99_999_999, 'H'));
    HeaderValue::from_str(&format!("{n}{unit}")).unwrap_or(HeaderValue::from_static("0n"))
}

/// Makes [`Read`].
#[derive(Debug, Clone)]
pub struct ReadLayer {
    wire: Wire,
    clock: Clock,
    longest: Option<Duration>,
}

impl ReadLayer {
    /// Takes deadlines from this header.
    #[must_use]
    pub fn new(wire: Wire) -> Self {
        Self {
            wire,
            clock: Clock::default(),
            longest: None,
        }
    }

    /// Takes no longer time than this from a caller, and this if there is none.
    #[must_use]
    pub fn at_most(mut self, longest: Duration) -> Self {
        self.longest = Some(longest);
        self
    }

    /// The clock, which should be that of the other layers.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

impl<S> Layer<S> for ReadLayer {
    type Service = Read<S>;

    fn layer(&self, inner: S) -> Read<S> {
        Read {
            inner,
            layer: self.clone(),
        }
    }
}

/// Puts the deadline of a request's header in force for the inner service.
///
/// Place it just inside [`respond`](crate::respond()). It refuses nothing
/// itself: put a `timeout` inside, which ends work whose time
/// is up even if its own policy has no limit. It allocates nothing, and reads the
/// clock only for requests that carry the header or if there is a longest time.
#[derive(Debug, Clone)]
pub struct Read<S> {
    inner: S,
    layer: ReadLayer,
}

impl<S, B> Service<Request<B>> for Read<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Scoped<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let ReadLayer {
            wire,
            clock,
            longest,
        } = &self.layer;
        let told = wire.read(request.headers());
        let left = match (told, longest) {
            (Some(told), Some(longest)) => Some(told.min(*longest)),
            (told, longest) => told.or(*longest),
        };
        let Some(left) = left else {
            return Deadline::at(Tick::MAX).wrap(self.inner.call(request));
        };
        let stamp = clock.stamp();
        let due = stamp.now().saturating_add(left);
        let _scope = Scope::enter(due);
        Deadline::at(due).wrap(self.inner.call(request))
    }
}

/// Makes [`Write`].
#[derive(Debug, Clone)]
pub struct WriteLayer {
    wire: Wire,
    clock: Clock,
}

impl WriteLayer {
    /// Puts deadlines into this header.
    #[must_use]
    pub fn new(wire: Wire) -> Self {
        Self {
            wire,
            clock: Clock::default(),
        }
    }

    /// The clock, which should be that of the other layers.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

impl<S> Layer<S> for WriteLayer {
    type Service = Write<S>;

    fn layer(&self, inner: S) -> Write<S> {
        Write {
            inner,
            layer: self.clone(),
        }
    }
}

/// Tells the next service how much time is left, in a header.
///
/// Place it innermost on a client. Without a deadline in force a request passes
/// untouched; with one, the header is written anew, which allocates for its
/// value and perhaps for the header map. What has passed is written as 0.
#[derive(Debug, Clone)]
pub struct Write<S> {
    inner: S,
    layer: WriteLayer,
}

impl<S, B> Service<Request<B>> for Write<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(deadline) = Deadline::current() {
            let WriteLayer { wire, clock } = &self.layer;
            let left = deadline.remaining(clock.stamp().now());
            let value = wire.write(left);
            request.headers_mut().insert(wire.header().clone(), value);
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grpc_timeouts_are_read_as_the_protocol_says() {
        let cases: [(&str, Option<Duration>); 14] = [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("100m", Some(Duration::from_millis(100))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("0n", Some(Duration::ZERO)),
            ("100000000n", None),
            ("1", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("1.5S", None),
            (" 1S", None),
            ("1s", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_grpc(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_header_that_comes_twice_is_no_deadline() {
        let mut headers = HeaderMap::new();
        headers.append(GRPC_TIMEOUT.clone(), HeaderValue::from_static("1S"));
        assert!(Wire::Grpc.read(&headers).is_some());
        headers.append(GRPC_TIMEOUT.clone(), HeaderValue::from_static("2S"));
        assert!(Wire::Grpc.read(&headers).is_none());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_no_longer(nanos in any::<u64>(), bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let left = Duration::from_nanos(nanos);
            let name = HeaderName::from_static("x-timeout-ms");
            for (wire, step) in [(Wire::Grpc, left / 99_999), (Wire::millis(name), Duration::from_millis(1))] {
                let mut headers = HeaderMap::new();
                headers.insert(wire.header().clone(), wire.write(left));
                let read = wire.read(&headers).unwrap();
                prop_assert!(read <= left && left - read <= step, "{read:?} for {left:?}");
            }
            let _ = parse_grpc(&bytes);
            let _ = parse_digits(&bytes);
        }
    }
}
