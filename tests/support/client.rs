//! Clients that check on every response what must always hold.
//!
//! [`Client`] speaks HTTP/1.1 over one keep-alive connection, byte by byte, so that it sees framing as it is.
//! [`H2Client`] speaks HTTP/2 in clear with prior knowledge.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::wire::{Buffered, Fields, Head, broken};

/// The longest wait for any one thing.
const PATIENCE: Duration = Duration::from_secs(20);

/// A response.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its header fields.
    pub fields: Fields,
    /// Its body, unframed.
    pub body: Vec<u8>,
    /// Its trailers.
    pub trailers: Fields,
    /// The informational heads ahead of it.
    pub informational: Vec<Head>,
}

impl Response {
    /// A header field that is there at most once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    /// The group that answered, as the upstream names itself.
    #[track_caller]
    pub fn group(&self) -> Option<&str> {
        self.header("x-upstream")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {:?}", self.text()))
    }

    /// Panics unless it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {:?}", self.fields, self.text());
        self
    }
}

/// Any stream that HTTP/1.1 can be spoken over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An HTTP/1.1 connection.
pub struct Client {
    wire: Buffered<Box<dyn Stream>>,
    host: String,
}

impl Client {
    /// Connects; panics where that fails.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap_or_else(|e| panic!("no connection to {address}: {e}"))
    }

    /// Connects.
    pub async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream, &address.to_string()))
    }

    /// Speaks over any stream (TLS, a unix socket), naming `host`.
    pub fn over(stream: impl Stream + 'static, host: &str) -> Self {
        Self { wire: Buffered::new(Box::new(stream)), host: host.to_owned() }
    }

    /// GET.
    pub async fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, &[], None).await
    }

    /// GET with further header fields.
    pub async fn get_with(&mut self, target: &str, fields: &[(&str, &str)]) -> Response {
        self.request("GET", target, fields, None).await
    }

    /// POST with a content length.
    pub async fn post(&mut self, target: &str, body: &[u8]) -> Response {
        self.request("POST", target, &[], Some(body)).await
    }

    /// A request, and its checked response; panics where there is none.
    pub async fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Response {
        self.try_request(method, target, fields, body).await.unwrap_or_else(|e| panic!("{method} {target}: {e}"))
    }

    /// A request, and its checked response. `host` is added where it is not among the fields.
    pub async fn try_request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Response> {
        let mut text = format!("{method} {target} HTTP/1.1\r\n");
        if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += &format!("host: {}\r\n", self.host);
        }
        text.extend(fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        if let Some(body) = body {
            text += &format!("content-length: {}\r\n", body.len());
        }
        text += "\r\n";
        let mut bytes = text.into_bytes();
        bytes.extend(body.unwrap_or_default());
        self.send(&bytes).await?;
        self.response_to(method).await
    }

    /// Sends these very bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        bounded("sending", async {
            self.wire.stream.write_all(bytes).await?;
            self.wire.stream.flush().await
        })
        .await
    }

    /// Ends the sending side.
    pub async fn finish_sending(&mut self) -> io::Result<()> {
        bounded("shutting down", self.wire.stream.shutdown()).await
    }

    /// Some bytes, as they come; empty at the end of the connection.
    pub async fn receive(&mut self) -> io::Result<Vec<u8>> {
        bounded("bytes", self.wire.some()).await
    }

    /// Exactly `n` bytes.
    pub async fn receive_exactly(&mut self, n: usize) -> io::Result<Vec<u8>> {
        bounded("bytes", self.wire.exactly(n)).await
    }

    /// Everything up to the end of the connection.
    pub async fn receive_rest(&mut self) -> io::Result<Vec<u8>> {
        bounded("the end of the connection", self.wire.rest()).await
    }

    /// Whether the other side has closed, or closes within the time that tests wait.
    pub async fn is_closed(&mut self) -> bool {
        matches!(self.receive_rest().await, Ok(rest) if rest.is_empty())
    }

    /// The next head as it is, unchecked.
    pub async fn head(&mut self) -> io::Result<Head> {
        bounded("a response's head", self.wire.head()).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// The next chunk of a chunked body, as it comes; empty for the last one.
    pub async fn chunk(&mut self) -> io::Result<Vec<u8>> {
        bounded("a chunk", self.wire.chunk()).await
    }

    /// The trailers, behind the last chunk.
    pub async fn trailers(&mut self) -> io::Result<Fields> {
        bounded("trailers", self.wire.trailers()).await
    }

    /// The next response, checked, to a request of this method.
    pub async fn response_to(&mut self, method: &str) -> io::Result<Response> {
        let mut response = Response::default();
        let head = loop {
            let head = self.head().await?;
            response.status = head.status()?;
            if response.status >= 200 || response.status == 101 {
                break head;
            }
            always_holds_informational(&head);
            response.informational.push(head);
        };
        always_holds(method, response.status, &head.fields);
        response.fields = head.fields;
        (response.body, response.trailers) = self.body(method, response.status, &response.fields).await?;
        Ok(response)
    }

    async fn body(&mut self, method: &str, status: u16, fields: &Fields) -> io::Result<(Vec<u8>, Fields)> {
        if method == "HEAD" || matches!(status, 101 | 204 | 304) {
            return Ok(Default::default());
        }
        if fields.get("transfer-encoding").is_some() {
            return bounded("a chunked body", self.wire.chunked()).await;
        }
        let body = match fields.get("content-length") {
            Some(length) => self.receive_exactly(length.parse().map_err(broken)?).await?,
            None => self.receive_rest().await?,
        };
        Ok((body, Fields::default()))
    }
}

async fn bounded<T>(what: &str, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("waited {PATIENCE:?} for {what}"));
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| late())?
}

/// What holds for every response, whoever made it (RFC 9110, RFC 9112, RFC 9209).
#[track_caller]
pub fn always_holds(method: &str, status: u16, fields: &Fields) {
    let (length, coding) = (fields.get("content-length"), fields.get("transfer-encoding"));
    assert!(length.is_none() || coding.is_none(), "two framings at once: {fields:?}");
    assert!(coding.is_none_or(|c| c == "chunked"), "a transfer coding that was not asked for: {fields:?}");
    assert!(length.is_none_or(|l| l.bytes().all(|b| b.is_ascii_digit())), "not a length: {fields:?}");
    let bodiless = method == "HEAD" || matches!(status, 101 | 204 | 304);
    let framed = length.is_some() || coding.is_some() || fields.lists("connection", "close");
    assert!(bodiless || framed, "a body without an end: {fields:?}");
    assert!(
        !matches!(status, 101 | 204) || (length.is_none() && coding.is_none()),
        "{status} with framing: {fields:?}"
    );
    let tunnel = matches!(status, 101 | 426);
    for hop in fields.all("connection").flat_map(|v| v.split(',')).map(str::trim) {
        let allowed = hop.eq_ignore_ascii_case("close") || hop.eq_ignore_ascii_case("keep-alive");
        assert!(allowed || (tunnel && hop.eq_ignore_ascii_case("upgrade")), "connection: {hop} went through");
    }
    assert!(tunnel || fields.get("upgrade").is_none(), "upgrade went through: {fields:?}");
    always_holds_whatever_the_version(status, fields);
}

fn always_holds_whatever_the_version(status: u16, fields: &Fields) {
    for name in ["keep-alive", "proxy-connection", "te", "proxy-authenticate"] {
        let belongs = name == "proxy-authenticate" && status == 407;
        assert!(fields.all(name).next().is_none() || belongs, "{name} is for one hop only: {fields:?}");
    }
    for name in ["date", "server", "location", "content-type", "retry-after"] {
        assert!(fields.all(name).count() <= 1, "{name} is repeated: {fields:?}");
    }
    if fields.all("proxy-status").any(|v| v.starts_with("pointsman")) {
        // gRPC has its status elsewhere.
        let failed = status >= 400 || fields.get("grpc-status").is_some_and(|code| code != "0");
        assert!(failed, "the proxy reports a failure with status {status}: {fields:?}");
    }
    let shared = fields.lists("cache-control", "public") || fields.all("cache-control").any(|v| v.contains("s-maxage"));
    let private = fields.lists("cache-control", "private") || fields.lists("cache-control", "no-store");
    let ours = fields.all("set-cookie").any(|v| v.starts_with("pointsman="));
    assert!(!(shared && !private && ours), "a shared cache would hand out this cookie: {fields:?}");
}

#[track_caller]
fn always_holds_informational(head: &Head) {
    let framed = ["content-length", "transfer-encoding"].iter().any(|name| head.fields.get(name).is_some());
    assert!(!framed, "an informational response has no body: {head:?}");
}

/// An HTTP/2 connection in clear, with prior knowledge.
pub struct H2Client {
    /// For requests that need more than [`H2Client::request`].
    pub sender: http2::SendRequest<Full<Bytes>>,
    authority: String,
    _connection: JoinSet<()>,
}

impl H2Client {
    /// Connects; panics where that fails.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, &address.to_string()).await
    }

    /// Speaks over any stream (TLS with ALPN `h2`), naming `authority`.
    pub async fn over(stream: impl Stream + 'static, authority: &str) -> Self {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let mut task = JoinSet::new();
        task.spawn(async { drop(connection.await) });
        Self { sender, authority: authority.to_owned(), _connection: task }
    }

    /// GET.
    pub async fn get(&self, target: &str) -> Response {
        self.request("GET", target, &[], b"").await.unwrap()
    }

    /// A request, and its checked response. Several may be under way on one connection.
    pub async fn request(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response, hyper::Error> {
        let mut request = http::Request::builder().method(method).uri(format!("http://{}{target}", self.authority));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let work = async {
            let response = self.sender.clone().send_request(request).await?;
            let (status, fields) = (response.status().as_u16(), lines(response.headers()));
            for name in ["connection", "transfer-encoding", "upgrade"] {
                assert!(fields.get(name).is_none(), "{name} over HTTP/2: {fields:?}");
            }
            always_holds_whatever_the_version(status, &fields);
            let body = response.into_body().collect().await?;
            let trailers = body.trailers().map(lines).unwrap_or_default();
            Ok(Response { status, fields, trailers, body: body.to_bytes().to_vec(), informational: Vec::new() })
        };
        tokio::time::timeout(PATIENCE, work)
            .await
            .unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {method} {target}"))
    }
}

fn lines(headers: &http::HeaderMap) -> Fields {
    Fields(headers.iter().map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect())
}
