//! The example application: answers over HTTP/1.1 and h2c on one port, and can be made to misbehave on demand.
//!
//! | path | answers |
//! |---|---|
//! | `/` | a page that shows live who answers |
//! | `/whoami` | JSON: group, version, instance, requests answered |
//! | `/health` | 200 and the detailed form, or 503 after `POST /toggle-health` |
//! | `/slow?ms=2000` | after a while, a minute at most |
//! | `/fail` | 500 |
//! | `/echo` | the request's body, as it comes |
//! | `/ws` | a WebSocket that echoes |
//!
//! Every answer names the application in `x-upstream`. It owns its connections and refuses to know who is in front.

use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::websocket;

/// Connections served at a time; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;
/// How long connections may take to finish once the application is told to stop.
const GRACE: Duration = Duration::from_secs(5);
/// A connection on which no request begins for so long is closed.
const IDLE: Duration = Duration::from_secs(75);
/// The longest wait that `/slow` can be asked for.
const SLOWEST: Duration = Duration::from_secs(60);
/// How long to leave `accept` alone after it failed (mostly: no descriptor left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

static UPSTREAM: HeaderName = HeaderName::from_static("x-upstream");
const PAGE: &str = include_str!("page.html");

type Body = UnsyncBoxBody<Bytes, hyper::Error>;
/// Where a request leaves its upgrade for the task of its connection, which carries it on.
type UpgradeSlot = Arc<Mutex<Option<OnUpgrade>>>;

/// Who an application is.
#[derive(Clone, Debug)]
pub struct AppOptions {
    /// The group it says it belongs to; the page takes its colour from it (`blue`, `green`, else grey).
    pub name: String,
    /// The version it says it is.
    pub version: String,
    /// Which copy of it this is, where a group has several.
    pub instance: String,
}

impl AppOptions {
    /// The application `name` at version `version`, told apart from other copies by the process's id.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self { name: name.to_owned(), version: version.to_owned(), instance: std::process::id().to_string() }
    }
}

#[derive(Debug)]
struct App {
    options: AppOptions,
    healthy: AtomicBool,
    answered: AtomicU64,
}

/// Serves connections of `listener` until `shutdown` resolves, then lets them finish for five seconds. WebSockets get
/// a Close frame (1001).
pub async fn serve(listener: TcpListener, options: AppOptions, shutdown: impl Future<Output = ()>) {
    let app = Arc::new(App { options, healthy: AtomicBool::new(true), answered: AtomicU64::new(0) });
    let (leave, leaving) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&app), leaving.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    leave.send_replace(true);
    let finished = async { while connections.join_next().await.is_some() {} };
    // Whoever is not done by then is cut off: dropping the set aborts what is left.
    let _ = tokio::time::timeout(GRACE, finished).await;
}

async fn connection(stream: TcpStream, app: Arc<App>, mut leaving: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let upgrade = UpgradeSlot::default();
    let service = service_fn(|request| {
        let (app, upgrade) = (Arc::clone(&app), Arc::clone(&upgrade));
        async move { Ok::<_, Infallible>(app.answer(request, &upgrade).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    {
        let conversation = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(conversation);
        tokio::select! {
            _ = conversation.as_mut() => {}
            () = told_to_leave(&mut leaving) => {
                conversation.as_mut().graceful_shutdown();
                let _ = conversation.await;
            }
        }
    }
    let upgraded = upgrade.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(upgraded) = upgraded
        && let Ok(io) = upgraded.await
    {
        // A peer that breaks off is none of our business.
        let _ = websocket::echo(TokioIo::new(io), leaving).await;
    }
}

/// Resolves when the application stops.
pub(super) async fn told_to_leave(leaving: &mut watch::Receiver<bool>) {
    // An error means that the application is gone already.
    let _ = leaving.wait_for(|&leaving| leaving).await;
}

impl App {
    async fn answer(&self, request: Request<Incoming>, upgrade: &UpgradeSlot) -> Response<Body> {
        let mut response = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/") => self.page(),
            (&Method::GET | &Method::HEAD, "/whoami") => self.whoami(),
            (&Method::GET | &Method::HEAD, "/health") => self.health(),
            (&Method::POST, "/toggle-health") => {
                self.healthy.fetch_xor(true, Ordering::AcqRel);
                self.health()
            }
            (_, "/slow") => self.slow(request.uri().query()).await,
            (_, "/fail") => text(StatusCode::INTERNAL_SERVER_ERROR, "failed, as asked\n"),
            (_, "/echo") => echo(request),
            (&Method::GET, "/ws") => handshake(request, upgrade),
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        };
        self.answered.fetch_add(1, Ordering::Relaxed);
        if let Ok(name) = HeaderValue::from_str(&self.options.name) {
            response.headers_mut().insert(UPSTREAM.clone(), name);
        }
        response
    }

    fn page(&self) -> Response<Body> {
        let (name, version) = (escaped(&self.options.name), escaped(&self.options.version));
        let page = PAGE.replace("@name@", &name).replace("@version@", &version);
        body(StatusCode::OK, "text/html; charset=utf-8", page)
    }

    fn whoami(&self) -> Response<Body> {
        let AppOptions { name, version, instance } = &self.options;
        let answered = self.answered.load(Ordering::Relaxed);
        let who = serde_json::json!({ "group": name, "version": version, "instance": instance, "answered": answered });
        body(StatusCode::OK, "application/json", who.to_string())
    }

    fn health(&self) -> Response<Body> {
        let healthy = self.healthy.load(Ordering::Acquire);
        let (code, status) =
            if healthy { (StatusCode::OK, "healthy") } else { (StatusCode::SERVICE_UNAVAILABLE, "unhealthy") };
        let health = serde_json::json!({
            "status": status,
            "version": self.options.version,
            "checks": { "database": status, "redis": "healthy" },
            "instance": self.options.instance,
        });
        body(code, "application/json", health.to_string())
    }

    async fn slow(&self, query: Option<&str>) -> Response<Body> {
        let asked = query.and_then(|q| q.strip_prefix("ms=")).and_then(|ms| ms.parse().ok()).unwrap_or(2000);
        let wait = Duration::from_millis(asked).min(SLOWEST);
        tokio::time::sleep(wait).await;
        text(StatusCode::OK, &format!("{} took {} ms\n", self.options.name, wait.as_millis()))
    }
}

/// Gives the body back while it is still coming in.
fn echo(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(body.boxed_unsync());
    if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    }
    response
}

/// Answers a WebSocket handshake, and leaves the connection to [`websocket::echo`].
fn handshake(mut request: Request<Incoming>, upgrade: &UpgradeSlot) -> Response<Body> {
    let Some(accept) = websocket::accept(request.headers()) else {
        let mut refusal = text(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket (RFC 6455, version 13)\n");
        refusal.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        refusal.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return refusal;
    };
    *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(hyper::upgrade::on(&mut request));
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    body(status, "text/plain; charset=utf-8", text.to_owned())
}

fn body(status: StatusCode, kind: &'static str, content: String) -> Response<Body> {
    let mut response = Response::new(full(content.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn full(content: Bytes) -> Body {
    Full::new(content).map_err(|never| match never {}).boxed_unsync()
}

/// Text that is harmless within HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    async fn started() -> (std::net::SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let options = AppOptions::new("green", "2.5.0");
        let task = tokio::spawn(serve(listener, options, async { drop(stopped.await) }));
        (address, stop, task)
    }

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    }

    #[tokio::test]
    async fn it_says_who_it_is_on_every_page() {
        let (address, _stop, _task) = started().await;
        for path in ["/", "/whoami", "/health", "/nowhere"] {
            let answer = ask(address, &get(path)).await;
            assert!(answer.contains("x-upstream: green\r\n"), "{path}: {answer}");
        }
        assert!(ask(address, &get("/whoami")).await.contains(r#""group":"green","version":"2.5.0""#));
        assert!(!ask(address, &get("/")).await.contains("@name@"));
    }

    #[tokio::test]
    async fn its_health_can_be_toggled() {
        let (address, _stop, _task) = started().await;
        assert!(ask(address, &get("/health")).await.starts_with("HTTP/1.1 200"));
        let toggle = "POST /toggle-health HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert!(ask(address, toggle).await.starts_with("HTTP/1.1 503"));
        assert!(ask(address, &get("/health")).await.contains(r#""status":"unhealthy""#));
        assert!(ask(address, toggle).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn it_echoes_a_body() {
        let (address, _stop, _task) = started().await;
        let request = "POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
        assert!(ask(address, request).await.contains("hello"));
    }

    #[tokio::test]
    async fn it_stops_when_told_to_and_closes_what_is_idle() {
        let (address, stop, task) = started().await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET /whoami HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(idle.read(&mut [0; 1024]).await.unwrap() > 0);
        stop.send(()).unwrap();
        tokio::time::timeout(GRACE, task).await.expect("it ends before its grace is over").unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
