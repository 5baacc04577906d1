//! One request of a drill: what came of it, and how long that took.

use std::net::Ipv4Addr;
use std::time::Duration;

use http::{HeaderValue, Method};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::control::prober::{Failed, Target, call};
use crate::control::tls::HTTP;
use crate::model::outcome::Outcome;

/// How long one may take.
const WITHIN: Duration = Duration::from_secs(5);

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) outcome: Outcome,
    /// To the head of its answer, where there was one, in microseconds.
    pub(super) micros: Option<u64>,
}

impl Seen {
    fn without_answer(outcome: Outcome) -> Self {
        Self { outcome, micros: None }
    }
}

/// Asks `target` for `path`, with a mark.
pub(super) async fn ask(target: &Target, path: &str, mark: &HeaderValue) -> Seen {
    let began = Instant::now();
    let deadline = began + WITHIN;
    let (stream, version) = match call::open(target, &HTTP, deadline).await {
        Ok(opened) => opened,
        Err(Failed::Unasked) => return Seen::without_answer(Outcome::Unprocessed),
        Err(Failed::Because(_)) => return Seen::without_answer(Outcome::ConnectFailed),
    };
    let Ok(mut request) = call::request(target, version, Method::GET, path, None) else {
        return Seen::without_answer(Outcome::Unprocessed);
    };
    request.headers_mut().insert(super::MARK, mark.clone());
    match call::exchange(stream, version, request, |_| call::Wanted::Head, deadline).await {
        Ok(answer) => {
            let failed = answer.status().is_server_error();
            let outcome = if failed { Outcome::ServerError } else { Outcome::Ok };
            Seen { outcome, micros: Some(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)) }
        }
        Err(_) if Instant::now() >= deadline => Seen::without_answer(Outcome::TimedOut),
        Err(_) => Seen::without_answer(Outcome::Broken),
    }
}

/// Connects to a port that was ours a moment ago, and where nobody listens now.
pub(super) async fn knock_at_nobodys_door() -> Seen {
    let nobody = async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        listener.local_addr()
    };
    // Without a port left there is nothing to be learnt.
    let Ok(address) = nobody.await else { return Seen::without_answer(Outcome::Unprocessed) };
    match TcpStream::connect(address).await {
        Ok(_) => Seen::without_answer(Outcome::Unprocessed),
        Err(_) => Seen::without_answer(Outcome::ConnectFailed),
    }
}

/// Whether `target` opens a WebSocket at `path`.
pub(super) async fn shake_hands(target: &Target, path: &str) -> Seen {
    let deadline = Instant::now() + WITHIN;
    match call::shake_hands(target, path, deadline).await {
        Ok(()) => Seen::without_answer(Outcome::Ok),
        Err(Failed::Unasked) => Seen::without_answer(Outcome::Unprocessed),
        Err(Failed::Because(_)) => Seen::without_answer(Outcome::Broken),
    }
}
