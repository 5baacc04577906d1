//! An upstream that dies at every byte of a request, or of an answer whose end only its connection tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{config, quoted};
use crate::support::wire::Buffered;
use crate::support::{Answer, Client, Proxy, Upstream};

const BUDGET: &str = "retries: { attempts: 2, budget: 100% }";
/// No request dies.
const LIVE: usize = usize::MAX;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nx-upstream: blue\r\ncontent-length: 2\r\n\r\nok";

/// How the connection ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    Close,
    Reset,
}

/// Reads requests to their end and answers them, but for the next one after [`Mortal::dies_at`].
struct Mortal {
    url: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    death: Death,
    /// After how many bytes of a request.
    at: AtomicUsize,
    deaths: AtomicUsize,
    /// Whole requests.
    served: AtomicUsize,
    /// The last one's length in bytes.
    length: AtomicUsize,
}

impl Mortal {
    async fn start(death: Death) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (deaths, served, length) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let shared = Arc::new(Shared { death, at: AtomicUsize::new(LIVE), deaths, served, length });
        let (mut tasks, all) = (JoinSet::new(), Arc::clone(&shared));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.spawn(serve(stream, Arc::clone(&all)));
            }
        });
        Self { url, shared, _tasks: tasks }
    }

    /// The next request dies after so many bytes of it.
    fn dies_at(&self, at: usize) {
        self.shared.at.store(at, Ordering::Release);
    }

    fn counts(&self) -> (usize, usize) {
        (self.shared.deaths.load(Ordering::Acquire), self.shared.served.load(Ordering::Acquire))
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    loop {
        // A connection that is idle must not die by itself: the first byte begins a request.
        if stream.readable().await.is_err() || matches!(stream.peek(&mut [0]).await, Ok(0) | Err(_)) {
            return;
        }
        let at = shared.at.swap(LIVE, Ordering::AcqRel);
        if at != LIVE {
            let mut read = vec![0; at];
            stream.read_exact(&mut read).await.unwrap();
            shared.deaths.fetch_add(1, Ordering::AcqRel);
            if shared.death == Death::Reset {
                stream.set_zero_linger().unwrap();
            }
            return;
        }
        let mut counted = Counted { stream: &mut stream, read: 0 };
        let mut wire = Buffered::new(&mut counted);
        let Ok(Some(head)) = wire.head().await else { return };
        if wire.request_body(&head).await.is_err() {
            return;
        }
        shared.length.store(counted.read, Ordering::Release);
        shared.served.fetch_add(1, Ordering::AcqRel);
        stream.write_all(OK).await.unwrap();
    }
}

/// Counts what is read.
struct Counted<'a> {
    stream: &'a mut TcpStream,
    read: usize,
}

impl tokio::io::AsyncRead for Counted<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = std::pin::Pin::new(&mut *self.stream).poll_read(cx, buf);
        self.read += buf.filled().len() - before;
        polled
    }
}

/// A kind of request, and whether it may be sent a second time.
struct Kind {
    method: &'static str,
    rest: &'static str,
    repeatable: bool,
}

const KINDS: [Kind; 5] = [
    Kind { method: "GET", rest: "\r\n", repeatable: true },
    Kind { method: "DELETE", rest: "\r\n", repeatable: true },
    Kind { method: "POST", rest: "\r\n", repeatable: false },
    Kind { method: "PUT", rest: "content-length: 5\r\n\r\nhello", repeatable: false },
    Kind { method: "POST", rest: "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", repeatable: false },
];

async fn ask(client: &mut Client, kind: &Kind) -> u16 {
    let Kind { method, rest, .. } = kind;
    client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\n{rest}").as_bytes()).await.unwrap();
    let answer = client.response_to(method).await.unwrap();
    if answer.status == 200 {
        assert_eq!(answer.text(), "ok");
    } else {
        assert_eq!(answer.header("proxy-status"), Some("pointsman; error=connection_terminated"));
    }
    answer.status
}

async fn at_every_byte_of_a_request(death: Death, reused: bool) {
    let blue = Mortal::start(death).await;
    let proxy = Proxy::start(&config(&[("blue", &[quoted(&blue.url)])], &[BUDGET])).await;
    for kind in KINDS {
        let mut client = proxy.client().await;
        // It is a fresh one each time where the one before has died.
        assert_eq!(ask(&mut client, &kind).await, 200);
        let length = blue.shared.length.load(Ordering::Acquire);
        assert!(length > 40, "{length} bytes only");
        for at in 1..=length {
            let what = format!("{} with {:?}, dead by {death:?} after {at} of {length} bytes", kind.method, kind.rest);
            if reused {
                assert_eq!(ask(&mut client, &kind).await, 200, "{what}");
            } else {
                // Uses the idle one up.
                blue.dies_at(1);
                ask(&mut client, &KINDS[2]).await;
            }
            let before = blue.counts();
            blue.dies_at(at);
            let status = ask(&mut client, &kind).await;
            let (deaths, served) = blue.counts();
            let again = reused && kind.repeatable;
            assert_eq!(status, if again { 200 } else { 502 }, "{what}");
            assert_eq!((deaths - before.0, served - before.1), (1, usize::from(again)), "{what}");
        }
    }
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn a_request_that_was_cut_on_a_fresh_connection_is_never_sent_again() {
    at_every_byte_of_a_request(Death::Close, false).await;
}

#[tokio::test]
async fn a_request_that_was_cut_by_a_reset_on_a_fresh_connection_is_never_sent_again() {
    at_every_byte_of_a_request(Death::Reset, false).await;
}

#[tokio::test]
async fn a_request_that_was_cut_on_a_reused_connection_is_sent_again_where_that_cannot_hurt() {
    at_every_byte_of_a_request(Death::Close, true).await;
}

#[tokio::test]
async fn a_request_that_was_cut_by_a_reset_on_a_reused_connection_is_sent_again_where_that_cannot_hurt() {
    at_every_byte_of_a_request(Death::Reset, true).await;
}

/// An upstream that answers with the first `at` bytes of `answer`, then ends the connection.
async fn cut_by_hand(answer: &'static [u8], death: Death) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let mut wire = Buffered::new(listener.accept().await.unwrap().0);
            // A probe says nothing.
            let Ok(Some(head)) = wire.head().await else { continue };
            let _ = wire.request_body(&head).await;
            let at = head.path().trim_start_matches('/').parse().unwrap();
            wire.stream.write_all(&answer[..at]).await.unwrap();
            if death == Death::Reset {
                // What was sent before a reset may be thrown away with it.
                tokio::task::yield_now().await;
                wire.stream.set_zero_linger().unwrap();
            }
        }
    });
    (url, tasks)
}

const UNTIL_CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\nx-upstream: blue\r\n\r\nhello, world";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n";
const SIZED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nhello, world";

async fn at_every_byte_of(answer: &'static [u8], death: Death) {
    let (url, _tasks) = cut_by_hand(answer, death).await;
    let proxy = Proxy::start(&config(&[("blue", &[quoted(&url)])], &[BUDGET])).await;
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    for at in 0..=answer.len() {
        for (method, body) in [("GET", None), ("POST", Some(&b"body"[..]))] {
            let mut client = proxy.client().await;
            let got = client.try_request(method, &format!("/{at}"), &[], body).await;
            let what = format!("{method} {death:?} at {at} of {}: {got:?}", String::from_utf8_lossy(answer));
            match (&got, death) {
                (Ok(answer), _) if at < head => assert_eq!(answer.status, 502, "{what}"),
                // Nothing but the end of the connection tells the end of such an answer.
                (Ok(got), Death::Close) if answer == UNTIL_CLOSE => {
                    assert_eq!((got.status, got.body.as_slice()), (200, &answer[head..at]), "{what}");
                }
                (Ok(got), _) if got.status == 200 => {
                    assert!(at == answer.len() && answer != UNTIL_CLOSE, "a part looks whole: {what}");
                    assert_eq!(got.text(), "hello, world");
                }
                // A reset may overtake what was sent ahead of it.
                (Ok(got), Death::Reset) => assert_eq!(got.status, 502, "{what}"),
                (Ok(_), Death::Close) => panic!("{what}"),
                (Err(_), _) => assert!(at >= head && (at < answer.len() || death == Death::Reset), "{what}"),
            }
        }
    }
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole_by_a_close_and_cut_by_a_reset() {
    at_every_byte_of(UNTIL_CLOSE, Death::Close).await;
    at_every_byte_of(UNTIL_CLOSE, Death::Reset).await;
}

#[tokio::test]
async fn an_answer_that_says_its_length_is_cut_by_a_close_and_by_a_reset() {
    for answer in [CHUNKED, SIZED] {
        at_every_byte_of(answer, Death::Close).await;
        at_every_byte_of(answer, Death::Reset).await;
    }
}

#[tokio::test]
async fn a_cut_answer_to_a_client_of_http_1_0_is_reset_and_does_not_look_whole() {
    let (url, _tasks) = cut_by_hand(CHUNKED, Death::Close).await;
    let proxy = Proxy::start(&config(&[("blue", &[quoted(&url)])], &[BUDGET])).await;
    for at in [50, 60, CHUNKED.len() - 1, CHUNKED.len()] {
        let mut client = proxy.client().await;
        client.send(format!("GET /{at} HTTP/1.0\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
        let rest = client.receive_rest().await;
        if at == CHUNKED.len() {
            assert!(rest.as_ref().is_ok_and(|rest| rest.ends_with(b"\r\n\r\nhello, world")), "{rest:?}");
        } else {
            // Nothing but a reset tells such a client that there was more to come.
            assert!(rest.is_err(), "cut at {at}, it looks whole: {:?}", rest.map(String::from_utf8));
        }
    }
}

#[tokio::test]
async fn nobody_gets_what_was_meant_for_another_however_the_upstream_dies() {
    let count = AtomicUsize::new(0);
    let blue = Upstream::scripted("blue", move |head| {
        let n = count.fetch_add(1, Ordering::AcqRel);
        let answer = Answer::Plain(200, format!("for {}", head.path()));
        match n % 11 {
            3 => Answer::Close,
            5 => Answer::Reset,
            7 => Answer::CutAt(n % 60, Box::new(answer)),
            9 => Answer::Last(Box::new(answer)),
            _ => answer,
        }
    });
    blue.close_after_requests(13);
    let proxy = Proxy::start(&config(&[("blue", &[quoted(&blue.url())])], &[BUDGET])).await;
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let address = proxy.address(crate::support::proxy::WEB);
        clients.spawn(async move {
            let (mut connection, mut whole) = (Client::connect(address).await, 0);
            for n in 0..150 {
                let path = format!("/{client}-{n}");
                let body = (n % 3 == 0).then_some(path.as_bytes());
                let method = if body.is_some() { "POST" } else { "GET" };
                match connection.try_request(method, &path, &[], body).await {
                    Ok(answer) if answer.status == 200 => {
                        assert_eq!(answer.text(), format!("for {path}"));
                        whole += 1;
                    }
                    Ok(answer) => assert_eq!(answer.status, 502, "{path}"),
                    Err(_) => connection = Client::connect(address).await,
                }
            }
            whole
        });
    }
    let whole: usize = clients.join_all().await.into_iter().sum();
    assert!(whole > 600, "{whole} answers only");
    proxy.is_idle("shop", "blue").await;
}
