//! What a balancer tells of its endpoints.

/// What has become of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum EndpointChange {
    /// Discovery has found it.
    Added,
    /// Discovery says that it is gone.
    Removed,
    /// It was not taken: its address is known, or there are too many.
    Refused,
    /// The factory has made its service.
    Connected,
    /// The factory has failed to make it, or not in time.
    ConnectFailed,
    /// Its service said that it is dead.
    Disconnected,
    /// It is ejected: by hand, or for its failures.
    Ejected,
    /// Its ejection is over.
    Restored,
    /// An active check has found it healthy.
    Healthy,
    /// An active check has found it unhealthy.
    Unhealthy,
}

impl EndpointChange {
    /// The name in metrics: `snake_case`, a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Refused => "refused",
            Self::Connected => "connected",
            Self::ConnectFailed => "connect_failed",
            Self::Disconnected => "disconnected",
            Self::Ejected => "ejected",
            Self::Restored => "restored",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}
