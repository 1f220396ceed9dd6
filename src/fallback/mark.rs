//! How an answer says that it is none of the service's.

use crate::classify::Cause;

/// Marks an answer: [`Unmarked`] or `Marked`.
#[diagnostic::on_unimplemented(
    message = "the response `{Res}` has no place for a mark",
    label = "`marked()` needs an `http::Response`"
)]
pub trait Mark<Res>: sealed::Mark {
    /// Notes the cause on an answer of the fallback.
    fn mark(&self, answer: &mut Res, cause: Cause);
}

// That nobody else can name them is their purpose.
#[expect(unnameable_types)]
mod sealed {
    pub trait Mark {}
}

/// Answers stay as they were made: for responses that have no place for a mark.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unmarked;

impl sealed::Mark for Unmarked {}

impl<Res> Mark<Res> for Unmarked {
    fn mark(&self, _: &mut Res, _: Cause) {}
}

#[cfg(feature = "http")]
pub use self::marked::Marked;

#[cfg(feature = "http")]
mod marked {
    use http::{HeaderName, HeaderValue, Response};

    use super::{Mark, sealed};
    use crate::classify::Cause;

    /// Answers carry their [`Cause`] as an extension of the response, and in a
    /// header if there is a name for one.
    #[derive(Debug, Clone, Default)]
    pub struct Marked {
        pub(in crate::fallback) header: Option<HeaderName>,
    }

    impl sealed::Mark for Marked {}

    impl<B> Mark<Response<B>> for Marked {
        fn mark(&self, answer: &mut Response<B>, cause: Cause) {
            answer.extensions_mut().insert(cause);
            if let Some(header) = &self.header {
                let label = HeaderValue::from_static(cause.label());
                answer.headers_mut().insert(header, label);
            }
        }
    }
}
