//! What the patterns would otherwise write again, word for word.

/// The way to the wrapped service, and a `Debug` that names the layer.
macro_rules! wraps_service {
    ($service:ident < S $(, $param:ident)* >) => {
        impl<S $(, $param)*> $service<S $(, $param)*> {
            /// The wrapped service.
            pub fn get_ref(&self) -> &S {
                self.inner.get_ref()
            }

            /// The wrapped service, to change it. It counts as not ready afterwards.
            pub fn get_mut(&mut self) -> &mut S {
                self.inner.get_mut()
            }

            /// The wrapped service, without this layer.
            pub fn into_inner(self) -> S {
                self.inner.into_inner()
            }
        }

        impl<S: std::fmt::Debug $(, $param)*> std::fmt::Debug for $service<S $(, $param)*> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($service))
                    .field("name", &self.state.core.name())
                    .field("inner", self.inner.get_ref())
                    .finish_non_exhaustive()
            }
        }
    };
}

/// The layer's handle, and a `Debug` that names it.
macro_rules! has_handle {
    ($layer:ident < $($param:ident),* >) => {
        impl<$($param),*> $layer<$($param),*> {
            /// The layer from outside: to watch it and to steer it.
            #[must_use]
            pub fn handle(&self) -> super::Handle {
                super::Handle::new(self.state.clone())
            }
        }

        impl<$($param),*> std::fmt::Debug for $layer<$($param),*> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($layer))
                    .field("name", &self.state.core.name())
                    .finish_non_exhaustive()
            }
        }
    };
}

/// What every handle can do. `then`: a method of the state that tells those who
/// wait already of an order.
macro_rules! steers {
    (
        $state:ty,
        { $(#[$update:meta])* update }
        { $(#[$order:meta])* set_override $(then $then:ident)? }
    ) => {
        impl Handle {
            pub(super) fn new(state: $crate::kernel::shared::Shared<$state>) -> Self {
                Self { state }
            }

            /// The layer, as in a [`Rejection`](crate::Rejection).
            #[must_use]
            pub fn id(&self) -> $crate::LayerId {
                self.state.core.id()
            }

            /// Its name.
            #[must_use]
            pub fn name(&self) -> &str {
                self.state.core.name()
            }

            /// Where it stands.
            #[must_use]
            pub fn snapshot(&self) -> Snapshot {
                self.state.snapshot()
            }

            /// The policy in force.
            #[must_use]
            pub fn policy(&self) -> super::Policy {
                self.state.policy()
            }

            /// What an operator has ordered by [`set_override`](Self::set_override).
            #[must_use]
            pub fn override_in_force(&self) -> $crate::Override {
                self.state.core.order()
            }

            /// How many callbacks of yours have panicked in it: listeners, classifiers,
            /// and whatever else it was given.
            #[must_use]
            pub fn callback_panics(&self) -> u64 {
                self.state.core.callback_panics()
            }

            /// Another policy from now on.
            ///
            $(#[$update])*
            pub fn update(&self, policy: super::Policy) {
                self.state.update(policy);
            }

            /// Overrules the policy, until it is called with
            /// [`Override::None`](crate::Override::None).
            ///
            $(#[$order])*
            pub fn set_override(&self, order: $crate::Override) {
                self.state.core.set_order(order);
                $(self.state.$then();)?
            }
        }

        impl std::fmt::Debug for Handle {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct("Handle")
                    .field("name", &self.name())
                    .field("snapshot", &self.snapshot())
                    .finish()
            }
        }
    };
}

pub(crate) use {has_handle, steers, wraps_service};
