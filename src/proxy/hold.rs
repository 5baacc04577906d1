//! Waiting for the end of a hold: which requests wait, and what becomes of a client that does not.
//!
//! Bodies are not read meanwhile; back-pressure keeps them where they are. So the end of a client that has not said
//! all is not found out by reading: it is looked for now and then.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;

use super::choose::Asked;
use super::error::ProxyError;
use super::http1::head::Call;
use super::http1::inbound::Inbound;
use super::target;
use crate::config::spec::SendsTo;
use crate::routing::hold::{Hold, NotLetGo};
use crate::routing::table::{Route, Service};

/// From one look for a client that has left to the next.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A client that has closed its side may still be listening for so long.
const HALF_CLOSED: Duration = Duration::from_secs(5);

/// What becomes of a new request of a service that is held.
#[derive(Debug)]
pub(super) enum Held {
    Waits(Arc<Hold>),
    /// It asks for our health from outside, where nobody should think that we are gone.
    IsProbe,
}

/// Looks at a request of a service with a hold. None: it goes on.
pub(super) fn held(hold: &Arc<Hold>, service: &Service, route: &Route, asked: &Asked<'_>) -> Option<Held> {
    // Test traffic goes on: that is how a migration is tried while everybody waits.
    if asked.listener.sends_to == SendsTo::Candidate || !hold.is_on() {
        return None;
    }
    let path = asked.target.path;
    let within = route.strip_prefix.as_deref().and_then(|prefix| target::without(path, prefix));
    let probe = service.probe_path.as_deref().is_some_and(|probe| path == probe || within == Some(probe));
    let reads = matches!(*asked.target.method, Method::GET | Method::HEAD);
    Some(if probe && reads { Held::IsProbe } else { Held::Waits(Arc::clone(hold)) })
}

/// Waits until the request is let go.
pub(super) async fn wait(hold: &Hold, call: &Call, inbound: Option<&Rc<Inbound>>) -> Result<(), ProxyError> {
    let received = call.path.as_str().len() + call.fields.size() + inbound.map_or(0, |i| i.buffered());
    tokio::select! {
        // Whoever is let go and has left at the same time is let go.
        biased;
        waited = hold.wait(received as u64) => waited.map_err(error),
        () = left(inbound) => Err(ProxyError::RequestAborted),
    }
}

fn error(why: NotLetGo) -> ProxyError {
    match why {
        // Rounded up: whoever comes back sooner meets it again.
        NotLetGo::Full(left) => ProxyError::HoldFull { seconds: left.as_secs().saturating_add(1).min(600) as u16 },
        NotLetGo::Expired => ProxyError::HeldTooLong,
    }
}

/// Resolves when a client of HTTP/1.1 is gone that has not been read to its end. Over HTTP/2, and where all was read,
/// others notice.
async fn left(inbound: Option<&Rc<Inbound>>) {
    let Some(inbound) = inbound else { return std::future::pending().await };
    let mut closed_since = None;
    loop {
        pin!(tokio::time::sleep(LOOK_EVERY)).await;
        closed_since = inbound.has_hung_up().then(|| closed_since.unwrap_or_else(Instant::now));
        if closed_since.is_some_and(|since: Instant| since.elapsed() >= HALF_CLOSED) {
            return;
        }
    }
}
