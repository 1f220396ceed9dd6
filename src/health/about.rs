//! What a service says about itself besides its health.

/// What a service says about itself in `application/health+json`; all of it is
/// optional, and told only to those who may see details.
///
/// ```
/// use tower_keep::health::About;
///
/// let about = About::new().version("1").release_id("1.4.2").note("canary");
/// # let _ = about;
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct About {
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) notes: Vec<String>,
}

impl About {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The public version of the service: `"1"`.
    pub fn version(self, version: impl Into<String>) -> Self {
        self.field("version", version.into())
    }

    /// The version of its code: `"1.4.2"`.
    pub fn release_id(self, id: impl Into<String>) -> Self {
        self.field("releaseId", id.into())
    }

    /// Which instance it is.
    pub fn service_id(self, id: impl Into<String>) -> Self {
        self.field("serviceId", id.into())
    }

    /// What it is, for people.
    pub fn description(self, text: impl Into<String>) -> Self {
        self.field("description", text.into())
    }

    /// One more note.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// The last one counts.
    fn field(mut self, name: &'static str, text: String) -> Self {
        self.fields.retain(|(given, _)| *given != name);
        self.fields.push((name, text));
        self
    }
}
