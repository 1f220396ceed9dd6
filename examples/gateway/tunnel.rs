//! Upgraded connections (`101 Switching Protocols`), for instance web sockets.
//!
//! After the upgrade the bytes are no HTTP any more. The gateway copies them both ways until both
//! sides are done, and the tunnel holds its slot all that time, as any exchange does.

use crate::headers;
use crate::inflight::{Exchange, NoContent};
use crate::problem::Problem;
use crate::proxy::Upgrade;
use axum::body::Body;
use axum::http::header::UPGRADE;
use axum::http::{Response, StatusCode};
use hyper_util::rt::TokioIo;

/// Passes the `101` on and connects the two sides once both have switched.
pub(crate) fn open(
    mut response: Response<Body>,
    upgrade: Option<Upgrade>,
    held: Exchange,
    name: &str,
) -> Result<Response<Body>, Problem> {
    let (Some(upgrade), Some(protocol)) = (upgrade, response.headers().get(UPGRADE).cloned())
    else {
        return Err(Problem::new(
            StatusCode::BAD_GATEWAY,
            "upgrade",
            "the upstream switched protocols without being asked",
        )
        .proxy_error("http_upgrade_failed"));
    };
    let upstream = hyper::upgrade::on(&mut response);
    tokio::spawn(async move {
        let _held = held;
        let Ok((client, upstream)) = tokio::try_join!(upgrade.client, upstream) else {
            // One side went away between the `101` and the switch: both are closed by now.
            return;
        };
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        // A side that breaks off ends the tunnel; there is nobody left to tell.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
    });
    let version = response.version();
    let headers = response.headers_mut();
    headers::strip_hop_by_hop(headers);
    headers::set_upgrade(headers, protocol);
    headers::via(headers, version, name);
    Ok(response.map(|_| Body::new(NoContent)))
}
