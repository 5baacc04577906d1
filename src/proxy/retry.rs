//! When an attempt may be repeated: the retry classes, as pure decisions.

use http::Method;

/// How far an attempt came before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Nothing was written: no connection, a pooled one that was dead, or HTTP/2 refused the stream.
    Nothing,
    /// Written on a connection that had served before, and not one byte came back: the upstream may have closed it
    /// while idle.
    ReusedConnection,
    /// Anything further: the upstream may have acted on it.
    Upstream,
}

/// Where a repeated attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// To another upstream, in another group too.
    Elsewhere,
    /// To the same upstream, on a new connection.
    FreshConnection,
    /// Nowhere.
    No,
}

/// What may be repeated of a request: its method's nature and its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeatable {
    /// RFC 9110, section 9.2.2.
    pub(super) idempotent: bool,
    /// There is none, or nobody has begun to read it.
    pub(super) body_held: bool,
}

/// Whether repeating the method has the effect of sending it once (RFC 9110, section 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

/// The decision, budget and number of attempts aside.
pub(super) fn again(reached: Reached, request: Repeatable) -> Again {
    match reached {
        Reached::Nothing if request.body_held => Again::Elsewhere,
        Reached::ReusedConnection if request.idempotent && request.body_held => Again::FreshConnection,
        Reached::Nothing | Reached::ReusedConnection | Reached::Upstream => Again::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_upstream_may_have_acted_on_is_never_repeated() {
        for idempotent in [false, true] {
            for body_held in [false, true] {
                let request = Repeatable { idempotent, body_held };
                assert_eq!(again(Reached::Upstream, request), Again::No);
                let nothing = if body_held { Again::Elsewhere } else { Again::No };
                assert_eq!(again(Reached::Nothing, request), nothing);
                let reused = if idempotent && body_held { Again::FreshConnection } else { Again::No };
                assert_eq!(again(Reached::ReusedConnection, request), reused);
            }
        }
    }

    #[test]
    fn post_and_patch_are_not_idempotent() {
        assert!(is_idempotent(&Method::GET) && is_idempotent(&Method::PUT));
        assert!(!is_idempotent(&Method::POST) && !is_idempotent(&Method::PATCH) && !is_idempotent(&Method::CONNECT));
    }
}
