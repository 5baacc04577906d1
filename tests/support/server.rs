//! A well-kept upstream: hyper's server over HTTP/2 in clear, a unix socket, or TLS with a choice of protocols.
//!
//! | path | answers |
//! |---|---|
//! | `/echo` | the body as it comes, its trailers too |
//! | `/trailers`, `/announced` | `hello`, and the trailer `x-sum: 5`, which only the latter says beforehand |
//! | else | what the request looked like, as JSON: `version`, `method`, `target`, `authority`, `fields`, `connection` |

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::certs::Files;
use super::client::Stream;
use super::tls;

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Where connections come in.
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
    Tls(TcpListener, TlsAcceptor),
}

/// A running server; ends when dropped.
pub struct Server {
    url: String,
    connections: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Server {
    /// HTTP/2 in clear (and HTTP/1.1 for who asks so).
    pub async fn h2c() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::run(format!("h2c://{}", listener.local_addr().unwrap()), Door::Tcp(listener))
    }

    /// On a unix socket.
    pub fn unix(path: &Path) -> Self {
        Self::run(format!("unix:{}", path.display()), Door::Unix(UnixListener::bind(path).unwrap()))
    }

    /// Over TLS with this certificate, offering these protocols. The URL names it as `localhost`.
    pub async fn tls(files: &Files, alpn: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(tls::chain(&files.cert), tls::key(&files.key)).unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        Self::run(url, Door::Tls(listener, TlsAcceptor::from(Arc::new(config))))
    }

    fn run(url: String, door: Door) -> Self {
        let connections = Arc::new(AtomicU64::new(0));
        let mut task = JoinSet::new();
        task.spawn(accept(door, Arc::clone(&connections)));
        Self { url, connections, _task: task }
    }

    /// As a configuration names it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connections that came to speak HTTP so far, probes included.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }
}

async fn accept(door: Door, connections: Arc<AtomicU64>) {
    let mut open = JoinSet::new();
    loop {
        let counted = Arc::clone(&connections);
        match &door {
            Door::Tcp(listener) => open.spawn(serve(listener.accept().await.unwrap().0, counted)),
            Door::Unix(listener) => open.spawn(serve(listener.accept().await.unwrap().0, counted)),
            Door::Tls(listener, acceptor) => {
                let secure = acceptor.accept(listener.accept().await.unwrap().0);
                open.spawn(async move {
                    // A client that does not like the certificate is what some tests are about.
                    if let Ok(stream) = secure.await {
                        serve(stream, counted).await;
                    }
                })
            }
        };
    }
}

async fn serve(stream: impl Stream + 'static, connections: Arc<AtomicU64>) {
    let number = connections.fetch_add(1, Ordering::AcqRel) + 1;
    let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(request, number)) });
    // How a connection ends is for the test to judge by what its client sees.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: Request<Incoming>, connection: u64) -> Response<Body> {
    let path = request.uri().path();
    let mut response = Response::builder().header("x-upstream", "server");
    if path == "/announced" {
        response = response.header("trailer", "x-sum");
    }
    let body = match path {
        "/echo" => request.into_body().boxed_unsync(),
        "/trailers" | "/announced" => {
            let trailers = [(http::HeaderName::from_static("x-sum"), http::HeaderValue::from_static("5"))];
            let trailers = std::future::ready(Some(Ok(trailers.into_iter().collect())));
            Streamed(Full::from("hello").map_err(|never| match never {}).with_trailers(trailers)).boxed_unsync()
        }
        _ => mirror(&request, connection),
    };
    response.body(body).unwrap()
}

fn mirror(request: &Request<Incoming>, connection: u64) -> Body {
    let fields =
        request.headers().iter().map(|(n, v)| serde_json::json!([n.as_str(), String::from_utf8_lossy(v.as_bytes())]));
    let seen = serde_json::json!({
        "version": format!("{:?}", request.version()),
        "method": request.method().as_str(),
        "target": request.uri().path_and_query().map(ToString::to_string),
        "authority": request.uri().authority().map(ToString::to_string),
        "fields": fields.collect::<Vec<_>>(),
        "connection": connection,
    });
    Full::from(seen.to_string()).map_err(|never| match never {}).boxed_unsync()
}

/// A body whose length nobody knows beforehand.
struct Streamed<B>(B);

impl<B: http_body::Body + Unpin> http_body::Body for Streamed<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }
}
