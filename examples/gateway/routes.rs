//! Which upstream serves which path.
//!
//! A route is a path prefix; the longest one that matches whole segments wins. As with other
//! proxies, an upstream URL without a path keeps the path of the request, and one with a path puts
//! it in the place of the prefix.

use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{Uri, Version};

/// One upstream server and the prefix it serves.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub(crate) prefix: String,
    pub(crate) authority: Authority,
    /// What takes the place of the prefix; without it the path is kept.
    pub(crate) path: Option<String>,
    /// HTTP/2 with prior knowledge, from an `h2://` URL.
    pub(crate) http2: bool,
}

impl Upstream {
    pub(crate) fn parse(prefix: &str, url: &str) -> Result<Self, String> {
        if !prefix.starts_with('/') {
            return Err(format!("the prefix `{prefix}` does not begin with `/`"));
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(format!(
                "`{url}` is not a URL such as http://127.0.0.1:8080"
            ));
        };
        let http2 = match scheme {
            "http" => false,
            "h2" | "h2c" => true,
            other => {
                return Err(format!(
                    "`{url}`: the scheme `{other}` is not supported; use http:// or h2:// (HTTP/2)"
                ));
            }
        };
        let (authority, path) = match rest.find('/') {
            Some(slash) => (&rest[..slash], Some(&rest[slash..])),
            None => (rest, None),
        };
        let authority: Authority = authority
            .parse()
            .map_err(|_| format!("`{url}`: `{authority}` is not a host and port"))?;
        if authority.as_str().contains('@') {
            return Err(format!("`{url}`: credentials in a URL are not supported"));
        }
        if let Some(path) = path
            && (path.contains(['?', '#']) || path.parse::<PathAndQuery>().is_err())
        {
            return Err(format!("`{url}`: `{path}` is not a plain path"));
        }
        let prefix = prefix.trim_end_matches('/');
        Ok(Self {
            prefix: if prefix.is_empty() { "/" } else { prefix }.to_owned(),
            authority,
            path: path.map(|path| path.trim_end_matches('/').to_owned()),
            http2,
        })
    }

    /// Reads `PREFIX=URL`, or a URL alone for every path.
    pub(crate) fn parse_argument(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((prefix, url)) if prefix.starts_with('/') => Self::parse(prefix, url),
            _ => Self::parse("/", text),
        }
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.http2 { "h2" } else { "http" };
        let path = self.path.as_deref().unwrap_or_default();
        format!("{scheme}://{}{path}", self.authority)
    }

    pub(crate) fn version(&self) -> Version {
        if self.http2 {
            Version::HTTP_2
        } else {
            Version::HTTP_11
        }
    }

    fn serves(&self, path: &str) -> bool {
        self.prefix == "/"
            || path
                .strip_prefix(&self.prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The URI to ask this upstream for.
    pub(crate) fn target(&self, uri: &Uri) -> Option<Uri> {
        let path = uri.path();
        let kept = match &self.path {
            None => path.to_owned(),
            Some(base) if self.prefix == "/" => format!("{base}{path}"),
            Some(base) => format!("{base}{}", path.strip_prefix(&self.prefix)?),
        };
        let slash = if kept.starts_with(['/', '*']) {
            ""
        } else {
            "/"
        };
        let path_and_query = match uri.query() {
            Some(query) => format!("{slash}{kept}?{query}"),
            None => format!("{slash}{kept}"),
        };
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path_and_query)
            .build()
            .ok()
    }
}

/// The upstreams of the longest prefix that serves `path`, by their positions.
pub(crate) fn matching<'a>(
    upstreams: impl Iterator<Item = &'a Upstream>,
    path: &str,
) -> Vec<usize> {
    let mut found = Vec::new();
    let mut longest = 0;
    for (index, upstream) in upstreams.enumerate() {
        if !upstream.serves(path) {
            continue;
        }
        if upstream.prefix.len() > longest {
            longest = upstream.prefix.len();
            found.clear();
        }
        if upstream.prefix.len() == longest {
            found.push(index);
        }
    }
    found
}

/// Whether a path has segments that would leave its prefix once an upstream resolves them.
pub(crate) fn has_dot_segments(path: &str) -> bool {
    path.split('/').any(|segment| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    })
}
