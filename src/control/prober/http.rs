//! The `http` check: GET, judged by status and body.

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::exchange::{exchange, request};
use super::{Failed, Finding, Target, connect, expect};
use crate::config::spec::Expect;
use crate::control::tls::HTTP;

pub(super) async fn probe(
    target: &Target,
    path: &str,
    host: Option<&str>,
    expected: &Expect,
    deadline: Instant,
) -> Result<Finding, Failed> {
    let (stream, version) = connect::open(target, &HTTP, deadline).await?;
    let request = request(target, version, Method::GET, path, host)?;
    let wanted = |status: StatusCode| expect::wanted(expected, status.as_u16());
    let asked = format!("GET {}{path}", target.live.endpoint.url.trim_end_matches('/'));
    let answer = exchange(stream, version, request, wanted, deadline).await.map_err(|e| format!("{asked} {e}"))?;
    let problem = expect::problem(expected, &answer).map(|what| format!("{asked} {what}"));
    Ok(Finding { status: Some(answer.head.status.as_u16()), problem })
}
