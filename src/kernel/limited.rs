//! What a bulkhead and an adaptive limit would otherwise write twice, word for
//! word: both admit by a [`Limit`](super::limit::Limit), at once or from its queue.

/// One admission, held by a guard of the state.
macro_rules! has_permit {
    ($state:ty, $token:ty) => {
        /// One admission; it ends when it is dropped.
        #[derive(Debug)]
        #[must_use = "the call is admitted while its permit lives"]
        pub struct Permit($crate::kernel::guard::Guard<$state>);

        impl Permit {
            #[inline]
            pub(super) fn new(
                state: &$crate::kernel::shared::Shared<$state>,
                token: $token,
            ) -> Self {
                Self($crate::kernel::guard::Guard::new(state, token))
            }

            /// Ends the admission and says how the call ended. A permit that is
            /// dropped without it was cancelled.
            pub fn finish(mut self, outcome: $crate::classify::Outcome) {
                self.0.finish(outcome);
            }
        }

        impl From<$crate::kernel::guard::Guard<$state>> for Permit {
            #[inline]
            fn from(guard: $crate::kernel::guard::Guard<$state>) -> Self {
                Self(guard)
            }
        }

        impl $crate::kernel::call::Hold for Permit {
            #[inline]
            fn through<R>(&mut self, f: impl FnOnce() -> R) -> R {
                $crate::kernel::guard::through(&mut self.0, f)
            }

            #[inline]
            fn judge<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
                self.0.state()?.core.contain("classifier", f)
            }
        }

        impl $crate::release::sealed::Admission for Permit {}

        impl $crate::release::Admission for Permit {
            #[inline]
            fn finish(&mut self, outcome: $crate::classify::Outcome) {
                self.0.finish(outcome);
            }

            #[inline]
            fn finish_with(&mut self, judge: impl FnOnce() -> $crate::classify::Outcome) {
                let outcome = $crate::kernel::call::Hold::judge(self, judge);
                self.0
                    .finish(outcome.unwrap_or($crate::classify::Outcome::Neutral));
            }
        }
    };
}

/// The way into the queue for code that is no Tower service.
#[cfg(any(feature = "bulkhead", feature = "adaptive"))]
macro_rules! acquires {
    ($state:ty) => {
        impl Handle {
            /// A permit for one call, in the policy's queue if need be. The future takes
            /// its place with its first poll; before that, it can be told how important
            /// the call is, and whose.
            ///
            /// # Cancel safety
            /// Dropped, it gives up its place in the queue.
            pub fn acquire(&self) -> Acquire {
                Acquire::new(&self.state, 1)
            }
        }

        pin_project_lite::pin_project! {
            /// The future of [`Handle::acquire`].
            ///
            /// # Errors
            /// That of [`Handle::admit`] if the queue is full, too,
            /// [`QueueTimeout`](crate::RejectionKind::QueueTimeout),
            /// [`Shed`](crate::RejectionKind::Shed),
            /// [`DeadlineExceeded`](crate::RejectionKind::DeadlineExceeded),
            /// [`NoRuntime`](crate::RejectionKind::NoRuntime) or
            /// [`Closed`](crate::RejectionKind::Closed).
            #[derive(Debug)]
            #[must_use = "futures do nothing unless polled"]
            pub struct Acquire {
                state: $crate::kernel::shared::Shared<$state>,
                who: $crate::kernel::wait::Who,
                // Started by the first poll: so it is under the deadline that is in
                // force there, and one that nobody polls holds nothing.
                #[pin]
                wait: Option<$crate::kernel::wait::Wait<$state>>,
            }
        }

        impl Acquire {
            fn new(state: &$crate::kernel::shared::Shared<$state>, permits: u32) -> Self {
                Self {
                    state: state.clone(),
                    who: $crate::kernel::wait::Who::any(permits),
                    wait: None,
                }
            }

            /// How important the call is, by default as one that nobody has ranked. Once
            /// it has been polled, this changes nothing.
            pub fn priority(mut self, priority: $crate::queue::Priority) -> Self {
                self.who.class = Some(priority.class());
                self
            }

            /// Whose the call is: the tenant that `key` finds for `request`, as in
            /// `.fair(key)`. Once it has been polled, this changes nothing.
            pub fn tenant<K, Req>(mut self, key: &K, request: &Req) -> Self
            where
                K: $crate::key::Key<Req>,
            {
                let space = &self.state.tenants;
                let id = self.state.core.contain("key", || space.id(key, request));
                self.who.tenant = id
                    .and_then(Result::ok)
                    .map_or(0, $crate::key::KeyId::as_u64);
                self
            }
        }

        impl Future for Acquire {
            type Output = Result<Permit, $crate::Rejection>;

            fn poll(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Self::Output> {
                use $crate::kernel::wait::Wait;
                let mut this = self.project();
                if this.wait.is_none() {
                    let tenant = this.who.tenant;
                    let wait = Wait::start(this.state, *this.who, || tenant);
                    this.wait.set(Some(wait));
                }
                match this.wait.as_pin_mut() {
                    Some(wait) => wait.poll(cx).map_ok(Permit::from),
                    None => std::task::Poll::Pending,
                }
            }
        }
    };
}

/// The future of a call that was admitted at once, or refused.
macro_rules! call_future {
    ($(#[$meta:meta])* $future:ident of $permit:ty) => {
        pin_project_lite::pin_project! {
            $(#[$meta])*
            #[must_use = "futures do nothing unless polled"]
            pub struct $future<F, E, R, C> {
                #[pin]
                call: $crate::kernel::call::Call<F, E, $permit, R, C>,
            }
        }

        impl<F, E, R, C> $future<F, E, R, C> {
            pub(super) fn refused(error: E) -> Self {
                let call = $crate::kernel::call::Call::refused(error);
                Self { call }
            }

            /// Calls the service under a permit.
            #[inline]
            pub(super) fn call(permit: $permit, classify: C, call: impl FnOnce() -> F) -> Self {
                let call = $crate::kernel::call::Call::begin(permit, classify, call);
                Self { call }
            }
        }

        impl<F, T, E, R, C> Future for $future<F, E, R, C>
        where
            F: Future<Output = Result<T, E>>,
            C: $crate::classify::Classify<T, E>,
            R: $crate::release::Release<T, $permit, C>,
        {
            type Output = Result<R::Response, E>;

            #[inline]
            fn poll(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Self::Output> {
                self.project().call.poll(cx)
            }
        }

        impl<F, E, R, C> std::fmt::Debug for $future<F, E, R, C> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($future))
                    .field("call", &self.call)
                    .finish()
            }
        }
    };
}

/// The future of a call that may have had to wait.
#[cfg(any(feature = "bulkhead", feature = "adaptive"))]
macro_rules! queue_future {
    ($(#[$meta:meta])* $future:ident of $permit:ty, $state:ty) => {
        pin_project_lite::pin_project! {
            $(#[$meta])*
            #[must_use = "futures do nothing unless polled"]
            pub struct $future<S, Req, R, C>
            where
                S: tower_service::Service<Req>,
            {
                #[pin]
                pub(super) waiting: $crate::kernel::wait::Waiting<S, Req, $state, $permit, R, C>,
            }
        }

        impl<S, Req, R, C> Future for $future<S, Req, R, C>
        where
            S: tower_service::Service<Req>,
            S::Error: $crate::error::AsRejection,
            C: $crate::classify::Classify<S::Response, S::Error>,
            R: $crate::release::Release<S::Response, $permit, C>,
        {
            type Output = Result<R::Response, S::Error>;

            fn poll(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Self::Output> {
                self.project().waiting.poll(cx)
            }
        }

        impl<S: tower_service::Service<Req>, Req, R, C> std::fmt::Debug
            for $future<S, Req, R, C>
        {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.waiting.fmt(f)
            }
        }
    };
}

/// The service that refuses what is over the limit, and the one that lets it wait.
#[cfg(any(feature = "bulkhead", feature = "adaptive"))]
macro_rules! sheds_and_queues {
    ($service:ident, $future:ident, $queue:ident, $permit:ty) => {
        impl<S, R, C, Req> tower_service::Service<Req> for $service<S, $crate::queue::Shed, R, C>
        where
            S: tower_service::Service<Req>,
            S::Error: $crate::error::AsRejection,
            C: $crate::classify::Classify<S::Response, S::Error> + Clone,
            R: $crate::release::Release<S::Response, $permit, C>,
        {
            type Response = R::Response;
            type Error = S::Error;
            type Future = $future<S::Future, S::Error, R, C>;

            #[inline]
            fn poll_ready(
                &mut self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), S::Error>> {
                self.inner.poll_ready(cx)
            }

            #[inline]
            fn call(&mut self, request: Req) -> Self::Future {
                let not_ready = || self.state.reject($crate::RejectionKind::NotReady);
                if let Err(error) = self.inner.check(not_ready) {
                    return $future::refused(error);
                }
                match self.state.admit(1) {
                    Ok(token) => {
                        let permit = <$permit>::new(&self.state, token);
                        let classify = self.classify.clone();
                        $future::call(permit, classify, || self.inner.call(request))
                    }
                    Err(rejection) => $future::refused(rejection.into()),
                }
            }
        }

        impl<S, P, K, R, C, Req> tower_service::Service<Req>
            for $service<S, $crate::queue::Queue<P, K>, R, C>
        where
            S: tower_service::Service<Req> + Clone,
            S::Error: $crate::error::AsRejection,
            P: $crate::queue::Rank<Req>,
            K: $crate::key::Key<Req>,
            C: $crate::classify::Classify<S::Response, S::Error> + Clone,
            R: $crate::release::Release<S::Response, $permit, C>,
        {
            type Response = R::Response;
            type Error = S::Error;
            type Future = $queue<S, Req, R, C>;

            #[inline]
            fn poll_ready(
                &mut self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), S::Error>> {
                self.inner.poll_ready(cx)
            }

            #[inline]
            fn call(&mut self, request: Req) -> Self::Future {
                use $crate::kernel::wait::{Wait, Waiting};
                let not_ready = || self.state.reject($crate::RejectionKind::NotReady);
                if let Err(error) = self.inner.check(not_ready) {
                    let waiting = Waiting::refused(error);
                    return $queue { waiting };
                }
                let State { core, tenants, .. } = &*self.state;
                let who = self.mode.who(core, &request);
                let tenant = || self.mode.tenant(core, tenants, &request);
                let wait = Wait::start(&self.state, who, tenant);
                let classify = self.classify.clone();
                let waiting = Waiting::start(wait, &mut self.inner, request, classify);
                $queue { waiting }
            }
        }
    };
}

/// The ways to make a layer let what is over the limit wait, and for whom.
#[cfg(any(feature = "bulkhead", feature = "adaptive"))]
macro_rules! queues {
    ($layer:ident) => {
        impl<M, R, C> $layer<M, R, C> {
            fn into_kind<M2, R2>(self, mode: impl FnOnce(M) -> M2) -> $layer<M2, R2, C> {
                $layer {
                    state: self.state,
                    mode: mode(self.mode),
                    classify: self.classify,
                    release: std::marker::PhantomData,
                }
            }

            /// Lets what is over the limit wait: [`Queue`](crate::queue::Queue).
            #[must_use]
            pub fn queued(self) -> $layer<$crate::queue::Queue, R, C> {
                self.into_kind(|_| $crate::queue::Queue::default())
            }
        }

        impl<P, K, R, C> $layer<$crate::queue::Queue<P, K>, R, C> {
            /// Requests by their [`Rank`](crate::queue::Rank): what is less important
            /// waits for, and is shed before, what is more important.
            #[must_use]
            pub fn ranked<P2>(self, rank: P2) -> $layer<$crate::queue::Queue<P2, K>, R, C> {
                self.into_kind(|queue| queue.ranked(rank))
            }

            /// Tenants by this key take turns, and none fills the queue alone: when it
            /// is full, who has most in it makes room. Of more than 64 tenants that
            /// wait at once, some share a turn.
            #[must_use]
            pub fn fair<K2>(self, tenant: K2) -> $layer<$crate::queue::Queue<P, K2>, R, C> {
                self.into_kind(|queue| queue.fair(tenant))
            }
        }
    };
}

#[cfg(any(feature = "bulkhead", feature = "adaptive"))]
pub(crate) use {acquires, queue_future, queues, sheds_and_queues};
pub(crate) use {call_future, has_permit};
