//! The `websocket` check: a handshake must be answered 101 with the matching key (RFC 6455, section 4), and is then
//! ended politely with a Close frame.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::connect::{self, Version, within};
use super::exchange::{beside, chain, request};
use super::{Failed, Finding, Target, expect};
use crate::model::websocket::accept;

/// A Close frame with the code 1000, masked as a client must (with zeros: there is nothing to hide).
const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];

pub(super) async fn probe(
    target: &Target,
    path: &str,
    host: Option<&str>,
    deadline: Instant,
) -> Result<Finding, Failed> {
    let (stream, _) = connect::open(target, &[b"http/1.1"], deadline).await?;
    let asked = format!("the WebSocket handshake at {}{path}", target.live.endpoint.url.trim_end_matches('/'));
    let key = STANDARD.encode(fastrand::u128(..).to_be_bytes());
    let mut request = request(target, Version::Http1, Method::GET, path, host)?;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(&key).map_err(|e| e.to_string())?);
    let talk = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let shake = async {
            let mut response = sender.send_request(request).await?;
            let problem = problem(&response, &key);
            if problem.is_none()
                && let Ok(upgraded) = hyper::upgrade::on(&mut response).await
            {
                // The verdict stands: a peer that does not care for our farewell is no worse.
                let _ = TokioIo::new(upgraded).write_all(&CLOSE).await;
            }
            Ok(Finding { status: Some(response.status().as_u16()), problem })
        };
        beside(connection.with_upgrades(), shake).await
    };
    let finding: Result<Finding, hyper::Error> =
        within(deadline, talk).await.ok_or_else(|| format!("{asked} was not answered in time"))?;
    let Finding { status, problem } = finding.map_err(|e| format!("{asked} broke off: {}", chain(&e)))?;
    Ok(Finding { status, problem: problem.map(|what| format!("{asked} {what}")) })
}

fn problem(response: &Response<Incoming>, key: &str) -> Option<String> {
    let field = |name| response.headers().get(name).map(|v| expect::shown(v.as_bytes())).unwrap_or_default();
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let location = response.headers().get(http::header::LOCATION);
        let location = location.map(|l| format!("; Location: {}", expect::shown(l.as_bytes()))).unwrap_or_default();
        return Some(format!("was answered {}, expected 101{location}", response.status()));
    }
    if !field(UPGRADE).eq_ignore_ascii_case("websocket") {
        return Some(format!("was answered 101 with Upgrade: {:?}, expected websocket", field(UPGRADE)));
    }
    let found = field(SEC_WEBSOCKET_ACCEPT);
    (found != accept(key)).then(|| format!("was answered with the wrong Sec-WebSocket-Accept {found:?}"))
}
