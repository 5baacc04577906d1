//! A client of the admin API: one connection a call, each wait with a deadline.
//!
//! It knows what an answer and a problem look like; where the port is, and what is asked for, is others' business.

use std::fmt::Write;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::Target;
use super::port::Port;
use crate::admin::wire::{Problem, Readiness};

/// Time to a connection, TLS included.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Time to a whole answer: a switch may have to wait for a group's first health check.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// Why a call did not give what it was to give.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error(
        "cannot reach pointsman at {place}: {why}; start it with `pointsman run --config FILE`, or say where it is with --admin or POINTSMAN_ADMIN"
    )]
    Unreachable {
        /// The admin port.
        place: String,
        /// What the system said.
        why: String,
    },
    /// The admin port refused.
    #[error("{}{hint}", problem.detail)]
    Refused {
        /// Its answer.
        problem: Box<Problem>,
        /// What to type, where that is known.
        hint: &'static str,
    },
    /// Whatever answered is not the admin port, or not of this version.
    #[error("{place} does not answer like pointsman's admin port: {why}")]
    Strange {
        /// The admin port.
        place: String,
        /// What it answered.
        why: String,
    },
    /// Connected, but no answer.
    #[error("{place} did not answer within {} s; whether anything was changed shows `pointsman status`", within.as_secs())]
    Silent {
        /// The admin port.
        place: String,
        /// How long was waited.
        within: Duration,
    },
}

impl CallError {
    fn refused(problem: Problem) -> Self {
        let hint = match problem.code.as_str() {
            _ if problem.detail.ends_with("repeat with force") => " (--force)",
            "frozen" if problem.detail.ends_with("override_freeze") => " (--override-freeze)",
            _ => "",
        };
        Self::Refused { problem: Box::new(problem), hint }
    }
}

/// Calls one admin port.
pub(super) struct Client {
    port: Port,
    /// As the user wrote it, for messages.
    written: String,
    token: Option<String>,
}

impl Client {
    /// Reads `target`; nothing is connected yet.
    pub(super) fn new(target: &Target) -> anyhow::Result<Self> {
        let port = Port::new(&target.admin, target.ca.as_deref())?;
        let token = target.token.clone().filter(|token| !token.is_empty());
        Ok(Self { port, written: target.admin.clone(), token })
    }

    /// Where `path` of the admin port is, as far as others can reach it under that name.
    pub(super) fn place(&self, path: &str) -> String {
        if self.written.starts_with("unix:") {
            path.to_owned()
        } else {
            format!("{}{path}", self.written.trim_end_matches('/'))
        }
    }

    /// A value.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(Method::GET, path, None).await
    }

    /// A change, or whatever else has an answer in JSON.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<T> {
        self.call_slowly(method, path, body, Duration::ZERO).await
    }

    /// The same for what may take so much longer than others.
    pub(super) async fn call_slowly<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
        longer: Duration,
    ) -> anyhow::Result<T> {
        let (status, bytes) = self.whole(method, path, body, ANSWER_WITHIN + longer).await?;
        self.fine(status, &bytes)?;
        Ok(self.parsed(&bytes)?)
    }

    /// A text.
    pub(super) async fn text(&self, path: &str) -> anyhow::Result<String> {
        let (status, bytes) = self.whole(Method::GET, path, None, ANSWER_WITHIN).await?;
        self.fine(status, &bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How the process as a whole is; not being ready is an answer too.
    pub(super) async fn readiness(&self) -> anyhow::Result<Readiness> {
        let (status, bytes) = self.whole(Method::GET, "/readyz", None, ANSWER_WITHIN).await?;
        if status != StatusCode::SERVICE_UNAVAILABLE {
            self.fine(status, &bytes)?;
        }
        Ok(self.parsed(&bytes)?)
    }

    /// An answer whose body comes as it happens.
    pub(super) async fn open(&self, path: &str, last: Option<u64>) -> Result<Incoming, CallError> {
        let mut request = self.request(Method::GET, path, None).header(header::ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Full::default()).map_err(|e| self.strange(e.to_string()))?;
        let response = self.within(ANSWER_WITHIN, self.send(request)).await?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let status = response.status();
        let bytes = self.within(ANSWER_WITHIN, self.collected(response)).await?;
        Err(self.fine(status, &bytes).err().unwrap_or_else(|| self.strange(status.to_string())))
    }

    async fn whole(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
        patience: Duration,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let bytes = body.map(|value| Bytes::from(value.to_string()));
        let request = self.request(method, path, bytes.as_ref()).body(Full::new(bytes.unwrap_or_default()));
        let request = request.map_err(|e| self.strange(e.to_string()))?;
        self.within(patience, async {
            let response = self.send(request).await?;
            Ok((response.status(), self.collected(response).await?))
        })
        .await
    }

    fn request(&self, method: Method, path: &str, body: Option<&Bytes>) -> http::request::Builder {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, self.port.host());
        request = request.header(header::USER_AGENT, concat!("pointsman/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, CallError> {
        let connected = timeout(CONNECT_WITHIN, self.port.connect()).await;
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.unreachable(format!("{error:#}"))),
            Err(_) => return Err(self.unreachable(format!("no connection within {} s", CONNECT_WITHIN.as_secs()))),
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.strange(e.to_string()))?;
        // Ends when the answer has been read or dropped, at the latest with the runtime.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|e| self.strange(e.to_string()))
    }

    async fn collected(&self, response: Response<Incoming>) -> Result<Bytes, CallError> {
        let collected = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        collected.map(http_body_util::Collected::to_bytes).map_err(|e| self.strange(e.to_string()))
    }

    async fn within<T>(
        &self,
        within: Duration,
        answer: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let silent = |_| CallError::Silent { place: self.written.clone(), within };
        timeout(within, answer).await.map_err(silent)?
    }

    fn fine(&self, status: StatusCode, body: &[u8]) -> Result<(), CallError> {
        if status.is_success() {
            return Ok(());
        }
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => Err(CallError::refused(problem)),
            Err(_) => Err(self.strange(status.to_string())),
        }
    }

    fn parsed<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, CallError> {
        serde_json::from_slice(body).map_err(|e| self.strange(e.to_string()))
    }

    fn unreachable(&self, why: String) -> CallError {
        CallError::Unreachable { place: self.written.clone(), why }
    }

    fn strange(&self, why: String) -> CallError {
        CallError::Strange { place: self.written.clone(), why }
    }
}

/// Text as one segment of a path or one value of a query (RFC 3986, section 2.1).
pub(super) fn segment(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string cannot fail");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Output;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn target(admin: &str) -> Target {
        Target { admin: admin.to_owned(), token: Some("secret".into()), ca: None, output: Output::Text }
    }

    /// Answers one request with `answer` and returns its head.
    async fn answering(answer: impl Into<String>) -> (String, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = answer.into();
        let served = tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap().0;
            let mut head = vec![0; 4096];
            let n = stream.read(&mut head).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&head[..n]).to_lowercase()
        });
        (url, served)
    }

    #[tokio::test]
    async fn a_call_carries_host_and_token_and_gives_the_value() {
        let body = r#"{"ready":true,"notes":["a"]}"#;
        let (url, served) = answering(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        let found: Readiness = Client::new(&target(&url)).unwrap().get("/readyz").await.unwrap();
        assert_eq!((found.ready, found.notes), (true, vec!["a".to_owned()]));
        let head = served.await.unwrap();
        assert!(head.contains("authorization: bearer secret") && head.contains("host: 127.0.0.1:"), "{head}");
    }

    #[tokio::test]
    async fn a_problem_becomes_its_sentence_and_what_to_type() {
        let (url, _served) = answering(
            "HTTP/1.1 409 Conflict\r\nconnection: close\r\n\r\n{\"type\":\"urn:x\",\"title\":\"t\",\"status\":409,\
             \"detail\":\"green is down; mend it, or repeat with force\",\"code\":\"no_healthy_upstream\"}",
        )
        .await;
        let error = Client::new(&target(&url)).unwrap().get::<Readiness>("/x").await.unwrap_err();
        assert_eq!(error.to_string(), "green is down; mend it, or repeat with force (--force)");
    }

    #[tokio::test]
    async fn what_is_not_an_admin_port_and_what_is_not_there_are_told_apart() {
        let (url, _served) = answering("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nhi").await;
        let error = Client::new(&target(&url)).unwrap().get::<Readiness>("/x").await.unwrap_err().to_string();
        assert!(error.contains("does not answer like pointsman's admin port: 404"), "{error}");
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let client = Client::new(&target(&format!("http://{free}"))).unwrap();
        let error = client.get::<Readiness>("/x").await.unwrap_err().to_string();
        assert!(error.contains("cannot reach") && error.contains("pointsman run --config FILE"), "{error}");
    }

    #[test]
    fn a_segment_is_escaped() {
        assert_eq!(segment("a b/c?é"), "a%20b%2Fc%3F%C3%A9");
    }
}
