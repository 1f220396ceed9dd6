//! What is known of an endpoint before it is called.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A place to send requests to: its address, and what the choice depends on.
///
/// Two endpoints are the same if their addresses are. One that comes again with
/// anything else changed is another one from then on: it starts afresh.
///
/// ```
/// use tower_keep::balance::Endpoint;
///
/// let endpoint = Endpoint::new("http://10.0.0.1:8080").weight(3).zone("a");
/// assert_eq!(endpoint.address(), "http://10.0.0.1:8080");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "Fields", into = "Fields"))]
#[must_use]
pub struct Endpoint {
    inner: Arc<Fields>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
struct Fields {
    address: String,
    #[cfg_attr(feature = "serde", serde(default = "one"))]
    weight: u32,
    #[cfg_attr(feature = "serde", serde(default))]
    priority: u32,
    #[cfg_attr(feature = "serde", serde(default))]
    zone: Option<String>,
    #[cfg_attr(feature = "serde", serde(default))]
    region: Option<String>,
    #[cfg_attr(feature = "serde", serde(default))]
    metadata: BTreeMap<String, String>,
}

#[cfg(feature = "serde")]
fn one() -> u32 {
    1
}

#[cfg(feature = "serde")]
impl From<Fields> for Endpoint {
    fn from(fields: Fields) -> Self {
        let inner = Arc::new(fields);
        Self { inner }
    }
}

#[cfg(feature = "serde")]
impl From<Endpoint> for Fields {
    fn from(endpoint: Endpoint) -> Self {
        Arc::unwrap_or_clone(endpoint.inner)
    }
}

impl Endpoint {
    /// The endpoint of this address, whatever the factory makes of it: a URI, or
    /// a socket's address. Weight 1, priority 0, nothing else.
    pub fn new(address: impl Into<String>) -> Self {
        let inner = Arc::new(Fields {
            address: address.into(),
            weight: 1,
            priority: 0,
            zone: None,
            region: None,
            metadata: BTreeMap::new(),
        });
        Self { inner }
    }

    /// How much it gets beside the others of its priority: by default 1, as much as
    /// each. One of weight 0 is a last resort: it is chosen where there is no other.
    pub fn weight(self, weight: u32) -> Self {
        self.with(|fields| fields.weight = weight)
    }

    /// Which are to be used first: 0, the default, before 1 and so on.
    pub fn priority(self, priority: u32) -> Self {
        self.with(|fields| fields.priority = priority)
    }

    /// The zone it stands in.
    pub fn zone(self, zone: impl Into<String>) -> Self {
        self.with(|fields| fields.zone = Some(zone.into()))
    }

    /// The region it stands in.
    pub fn region(self, region: impl Into<String>) -> Self {
        self.with(|fields| fields.region = Some(region.into()))
    }

    /// Anything else that is known of it.
    pub fn metadata(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|fields| {
            fields.metadata.insert(name.into(), value.into());
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Fields)) -> Self {
        change(Arc::make_mut(&mut self.inner));
        self
    }

    /// Its address, by which it is known.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// See [`weight`](Self::weight).
    #[must_use]
    pub fn get_weight(&self) -> u32 {
        self.inner.weight
    }

    /// See [`priority`](Self::priority).
    #[must_use]
    pub fn get_priority(&self) -> u32 {
        self.inner.priority
    }

    /// See [`zone`](Self::zone).
    #[must_use]
    pub fn get_zone(&self) -> Option<&str> {
        self.inner.zone.as_deref()
    }

    /// See [`region`](Self::region).
    #[must_use]
    pub fn get_region(&self) -> Option<&str> {
        self.inner.region.as_deref()
    }

    /// See [`metadata`](Self::metadata).
    #[must_use]
    pub fn get_metadata(&self, name: &str) -> Option<&str> {
        self.inner.metadata.get(name).map(String::as_str)
    }
}

impl From<&str> for Endpoint {
    fn from(address: &str) -> Self {
        Self::new(address)
    }
}

impl From<String> for Endpoint {
    fn from(address: String) -> Self {
        Self::new(address)
    }
}
