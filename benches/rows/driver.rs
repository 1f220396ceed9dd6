//! Calls services in a loop, and the services that are called.

use std::convert::Infallible;
use std::future::{self, Future};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tower_keep::Error;
use tower_service::Service;

/// Makes so many calls.
pub(crate) type Runner = Box<dyn FnMut(u64) + Send>;

type Answer = Result<u64, Error<Infallible>>;

/// A service that is ready at once, always.
#[derive(Clone, Debug)]
pub(crate) struct Inner;

impl Service<u64> for Inner {
    type Response = u64;
    type Error = Error<Infallible>;
    type Future = future::Ready<Answer>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: u64) -> Self::Future {
        future::ready(Ok(request))
    }
}

/// A service whose futures are pending at their first poll.
#[derive(Clone, Debug)]
pub(crate) struct Once;

/// The future of [`Once`].
#[derive(Debug)]
pub(crate) struct OnceFuture {
    request: u64,
    polled: bool,
}

impl Service<u64> for Once {
    type Response = u64;
    type Error = Error<Infallible>;
    type Future = OnceFuture;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: u64) -> Self::Future {
        OnceFuture {
            request,
            polled: false,
        }
    }
}

impl Future for OnceFuture {
    type Output = Answer;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer> {
        if self.polled {
            return Poll::Ready(Ok(self.request));
        }
        self.polled = true;
        Poll::Pending
    }
}

/// The waker of a runner.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waking {
    /// [`Waker::noop`], free to clone.
    Noop,
    /// One that counts its clones, as those of executors do.
    Counted,
}

impl Waking {
    fn waker(self) -> Waker {
        struct Nobody;
        impl Wake for Nobody {
            fn wake(self: Arc<Self>) {}
        }
        match self {
            Self::Noop => Waker::noop().clone(),
            Self::Counted => Arc::new(Nobody).into(),
        }
    }
}

/// The first call of a thread: threads walk through keys at places of their own.
fn start(thread: usize) -> u64 {
    (thread as u64) << 32
}

/// What a runner writes to, on lines of its own: small services of two runners
/// would otherwise lie side by side.
#[repr(align(128))]
struct Apart<T>(T);

/// Calls a service whose futures are ready at their first poll.
pub(crate) fn ready<S>(service: S, thread: usize) -> Runner
where
    S: Service<u64> + Send + 'static,
{
    let mut own = Apart((service, start(thread)));
    Box::new(move |calls| {
        let Apart((service, call)) = &mut own;
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..calls {
            *call += 1;
            assert!(service.poll_ready(&mut cx).is_ready());
            let future = pin!(service.call(black_box(*call)));
            let poll = future.poll(&mut cx);
            assert!(poll.is_ready());
            let _ = black_box(poll);
        }
    })
}

/// Calls a service whose futures are ready at their second poll.
pub(crate) fn pending<S>(waking: Waking) -> impl Fn(S, usize) -> Runner + Send + Sync
where
    S: Service<u64> + Send + 'static,
{
    move |service, thread| {
        let mut own = Apart((service, start(thread)));
        let waker = waking.waker();
        Box::new(move |calls| {
            let Apart((service, call)) = &mut own;
            let mut cx = Context::from_waker(&waker);
            for _ in 0..calls {
                *call += 1;
                assert!(service.poll_ready(&mut cx).is_ready());
                let mut future = pin!(service.call(black_box(*call)));
                assert!(future.as_mut().poll(&mut cx).is_pending());
                let poll = future.poll(&mut cx);
                assert!(poll.is_ready());
                let _ = black_box(poll);
            }
        })
    }
}

/// Runs it in a tokio runtime whose time driver has been busy before, so that
/// arming a timer wakes nobody: as in a server under load.
#[allow(clippy::disallowed_methods)] // to start with, nothing is measured yet
pub(crate) fn inside_runtime(threads: usize, work: impl AsyncFnOnce()) {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    let runtime = builder.enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let mut beat = tokio::time::interval(std::time::Duration::from_millis(1));
        let beating = tokio::spawn(async move {
            loop {
                beat.tick().await;
            }
        });
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        // Tokio would let its timers and semaphores be pending after so many polls.
        tokio::task::unconstrained(work()).await;
        beating.abort();
    });
}

/// Makes a runner for a thread, around a clone of one service.
pub(crate) type Maker = Box<dyn Fn(usize) -> Runner + Send + Sync>;

/// A maker around clones of one service.
pub(crate) fn of<S: Clone + Send + Sync + 'static>(service: S, drive: impl Drive<S>) -> Maker {
    Box::new(move |thread| drive.runner(service.clone(), thread))
}

/// How a service is called.
pub(crate) trait Drive<S>: Send + Sync + 'static {
    fn runner(&self, service: S, thread: usize) -> Runner;
}

impl<S, F: Fn(S, usize) -> Runner + Send + Sync + 'static> Drive<S> for F {
    fn runner(&self, service: S, thread: usize) -> Runner {
        self(service, thread)
    }
}
