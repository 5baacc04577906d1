//! HTTP/2 frame by frame, where [`super::client::H2Client`] hides too much.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A connection in clear.
pub struct H2 {
    sender: SendRequest<Bytes>,
    address: SocketAddr,
    _connection: JoinSet<()>,
}

impl H2 {
    /// Connects with prior knowledge.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        let mut task = JoinSet::new();
        task.spawn(async { drop(connection.await) });
        Self { sender, address, _connection: task }
    }

    /// Begins a request whose body the caller sends.
    pub async fn begin(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let uri = format!("http://{}{path}", self.address);
        let request = fields.iter().fold(Request::builder().method(method).uri(uri), |r, (n, v)| r.header(*n, *v));
        let mut sender = self.sender.clone().ready().await.unwrap();
        sender.send_request(request.body(()).unwrap(), false).unwrap()
    }

    /// A request without a body; its answer's head, and the rest to be read.
    pub async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Result<Response<RecvStream>, h2::Error> {
        let (response, mut body) = self.begin("GET", path, fields).await;
        body.send_data(Bytes::new(), true)?;
        response.await
    }
}

/// Waits until the flow-control windows allow some bytes, at most `wanted`.
pub async fn capacity(body: &mut SendStream<Bytes>, wanted: usize) -> Result<usize, h2::Error> {
    body.reserve_capacity(wanted);
    let granted = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
    granted.unwrap_or_else(|| Err(h2::Reason::STREAM_CLOSED.into())).map(|granted| granted.min(wanted))
}

/// Sends data as the flow-control windows allow.
pub async fn send(body: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        let granted = capacity(body, data.len()).await?;
        body.send_data(data.split_to(granted), false)?;
    }
    Ok(())
}

/// A whole body and its trailers.
pub async fn receive(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend(data);
    }
    Ok((all, body.trailers().await?))
}
