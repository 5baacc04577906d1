//! What the prober promises, against real sockets.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::*;
use crate::control::compile::{compile, file_services};
use crate::control::drains::Farewells;
use crate::control::fuses::Fuses;
use crate::control::hold::Holds;
use crate::control::registry::Registry;
use crate::control::samples::{self, eventually, expect, health};
use crate::model::adoption::adopt;
use crate::model::change::Desired;
use crate::model::cohort::Salt;
use crate::model::websocket::accept;

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

fn full(text: &'static str) -> Body {
    Full::new(Bytes::from_static(text.as_bytes())).boxed()
}

/// An upstream that answers with `answer`; gives its port and how often it was asked.
async fn upstream(
    answer: impl Fn(Request<Incoming>) -> Response<Body> + Clone + Send + Sync + 'static,
    version: connect::Version,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answer, count, tls) = (answer.clone(), Arc::clone(&count), tls.clone());
            let service = service_fn(move |request| {
                count.fetch_add(1, Ordering::SeqCst);
                let response = answer(request);
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(async move {
                let stream: Box<dyn connect::Stream> = match tls {
                    None => Box::new(stream),
                    Some(tls) => match tokio_rustls::TlsAcceptor::from(tls).accept(stream).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => return,
                    },
                };
                let io = TokioIo::new(stream);
                // What a client does to the connection in the end is its own business.
                let _ = match version {
                    connect::Version::Http1 => {
                        let connection = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
                        connection.with_upgrades().await.map_err(drop)
                    }
                    connect::Version::Http2 => {
                        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        builder.serve_connection(io, service).await.map_err(drop)
                    }
                };
            });
        }
    });
    (port, asked)
}

fn target(url: &str, check: Check) -> Target {
    let mut spec = samples::spec(&[url]);
    let mut shop = (*spec.services[0]).clone();
    shop.health = health(check);
    spec.services = vec![Arc::new(shop)];
    let target = of(&spec, &Registry::new(1)).remove(0);
    // No resolver runs here.
    if let Some(addresses) = &target.live.addresses {
        addresses.lead_to(vec![std::net::Ipv4Addr::LOCALHOST.into()]);
    }
    target
}

fn of(spec: &Spec, registry: &Registry) -> Vec<Target> {
    let desired = adopt(&Desired::default(), &file_services(spec), || Salt(5)).desired;
    targets(
        spec,
        &compile(spec, &desired, &registry.renewed(spec).unwrap(), &Farewells::new(), &Holds::new(), &Fuses::new()),
    )
    .to_vec()
}

async fn found(target: &Target) -> Finding {
    probe(target, Instant::now() + target.health.timeout).await.expect("the upstream was asked")
}

async fn problem(target: &Target) -> String {
    found(target).await.problem.unwrap_or_default()
}

fn http(path: &str) -> Check {
    Check::Http { path: path.to_owned(), host: None, expect: expect() }
}

const H1: connect::Version = connect::Version::Http1;
const H2: connect::Version = connect::Version::Http2;

#[tokio::test]
async fn a_tcp_check_connects_and_says_where_it_could_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(problem(&target(&format!("http://127.0.0.1:{port}"), Check::Tcp)).await, "");
    drop(listener);
    let why = problem(&target(&format!("http://127.0.0.1:{port}"), Check::Tcp)).await;
    assert!(why.starts_with(&format!("cannot connect to 127.0.0.1:{port}: Connection refused")), "{why}");
}

#[tokio::test]
async fn a_tcp_check_reaches_a_unix_socket_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let target = target(&format!("unix:{}", path.display()), Check::Tcp);
    assert!(problem(&target).await.contains("app.sock: No such file"));
    let _listener = tokio::net::UnixListener::bind(&path).unwrap();
    assert_eq!(problem(&target).await, "");
}

#[tokio::test]
async fn an_http_check_is_judged_by_status_and_says_what_it_saw() {
    let answer = |request: Request<Incoming>| {
        assert_eq!(request.headers()["user-agent"], exchange::AGENT);
        match request.uri().path() {
            "/well" => Response::new(full("fine")),
            _ => Response::builder().status(503).header("location", "/later").body(full("database is down")).unwrap(),
        }
    };
    let (port, _) = upstream(answer, H1, None).await;
    let url = format!("http://127.0.0.1:{port}");
    let well = found(&target(&url, http("/well"))).await;
    assert_eq!(well, Finding { status: Some(200), problem: None });
    let ill = found(&target(&url, http("/ill?x=1"))).await;
    assert_eq!(ill.status, Some(503));
    assert_eq!(
        ill.problem.unwrap(),
        format!(
            "GET {url}/ill?x=1 answered 503 Service Unavailable, expected 200-299; Location: /later; \
             the body begins: database is down"
        )
    );
}

#[tokio::test]
async fn an_http_check_speaks_http_2_and_names_the_upstream_or_the_given_host() {
    let answer = |request: Request<Incoming>| {
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        Response::builder().status(if host == "shop.test" { 200 } else { 404 }).body(full("")).unwrap()
    };
    let (port, _) = upstream(answer, H2, None).await;
    let url = format!("h2c://127.0.0.1:{port}");
    assert!(problem(&target(&url, http("/"))).await.contains("404"));
    let named = Check::Http { path: "/".to_owned(), host: Some("shop.test".to_owned()), expect: expect() };
    assert_eq!(problem(&target(&url, named)).await, "");
}

#[tokio::test]
async fn a_body_that_never_ends_is_read_only_as_far_as_it_matters() {
    let endless = |_| Response::new(BodyExt::boxed(Endless));
    let (port, _) = upstream(endless, H1, None).await;
    let url = format!("http://127.0.0.1:{port}");
    assert_eq!(problem(&target(&url, http("/"))).await, "");
    let mut expect = expect();
    expect.json = vec![("a".to_owned(), serde_json::json!(1))];
    let why = problem(&target(&url, Check::Http { path: "/".to_owned(), host: None, expect })).await;
    assert!(why.contains("answered 200 OK, but the body is longer than 65536 bytes"), "{why}");
}

/// A body without an end.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 8192])))))
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_has_failed_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut target = target(&url, http("/health"));
    target.health.timeout = Duration::from_millis(80);
    assert_eq!(problem(&target).await, format!("GET {url}/health did not answer in time"));
}

#[tokio::test]
async fn an_http_check_over_tls_trusts_the_given_authority_only() {
    let folder = tempfile::tempdir().unwrap();
    let files = samples::certificate(folder.path(), "app.test");
    let ca = files.cert.clone();
    let tls = spec::Tls { certificates: vec![files], client_ca: None };
    let config = crate::control::tls::server_config(&tls, &[b"http/1.1"]).unwrap();
    let (port, _) = upstream(|_| Response::new(full("")), H1, Some(config)).await;
    let mut spec = samples::spec(&[&format!("https://127.0.0.1:{port}")]);
    let with = |spec: &mut Spec, ca: Option<std::path::PathBuf>| {
        let mut shop = (*spec.services[0]).clone();
        shop.health = health(http("/"));
        let endpoint = &mut shop.groups[0].upstreams[0].endpoint;
        endpoint.ca = ca;
        endpoint.server_name = Some("app.test".to_owned());
        spec.services = vec![Arc::new(shop)];
        of(spec, &Registry::new(1)).remove(0)
    };
    assert_eq!(problem(&with(&mut spec, Some(ca))).await, "");
    let other = samples::certificate(folder.path(), "other.test").cert;
    let why = problem(&with(&mut spec, Some(other))).await;
    assert!(why.contains("TLS with https://127.0.0.1") && why.contains("failed"), "{why}");
}

#[tokio::test]
async fn a_grpc_check_wants_serving_and_a_good_status_in_the_trailers() {
    let answer = |request: Request<Incoming>| {
        assert_eq!(request.headers()["te"], "trailers");
        let (message, status) = match request.uri().path() {
            "/grpc.health.v1.Health/Check" => (&[0_u8, 0, 0, 0, 2, 8, 1][..], "0"),
            _ => (&[][..], "12"),
        };
        let mut trailers = ::http::HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        let body = Full::new(Bytes::from_static(message)).with_trailers(async move { Some(Ok(trailers)) });
        Response::builder().header("content-type", "application/grpc").body(BodyExt::boxed(body)).unwrap()
    };
    let (port, _) = upstream(answer, H2, None).await;
    let check = Check::Grpc { service: "shop.v1".to_owned() };
    assert_eq!(problem(&target(&format!("h2c://127.0.0.1:{port}"), check)).await, "");
}

#[tokio::test]
async fn a_grpc_server_that_does_not_serve_or_knows_no_health_is_ill() {
    for (message, status, expected) in [
        (&[0_u8, 0, 0, 0, 2, 8, 2][..], "0", "NOT_SERVING"),
        (&[][..], "12", "does not offer the health service"),
        (&[][..], "5", "grpc-status 5"),
    ] {
        let answer = move |_| {
            let body = full_bytes(message);
            Response::builder().header("grpc-status", status).body(body).unwrap()
        };
        let (port, _) = upstream(answer, H2, None).await;
        let why = problem(&target(&format!("h2c://127.0.0.1:{port}"), Check::Grpc { service: String::new() })).await;
        assert!(why.contains(expected), "{why}");
    }
}

fn full_bytes(bytes: &'static [u8]) -> Body {
    Full::new(Bytes::from_static(bytes)).boxed()
}

#[tokio::test]
async fn a_websocket_check_wants_101_with_the_answer_to_its_key() {
    let answer = |request: Request<Incoming>| {
        let accept = match request.uri().path() {
            "/socket" => accept(request.headers()["sec-websocket-key"].to_str().unwrap()),
            "/wrong" => "nonsense".to_owned(),
            _ => return Response::builder().status(401).body(full("")).unwrap(),
        };
        let switched = Response::builder().status(101).header("upgrade", "WebSocket").header("connection", "upgrade");
        switched.header("sec-websocket-accept", accept).body(full("")).unwrap()
    };
    let (port, _) = upstream(answer, H1, None).await;
    let at = |path: &str| {
        target(&format!("http://127.0.0.1:{port}"), Check::WebSocket { path: path.to_owned(), host: None })
    };
    assert_eq!(found(&at("/socket")).await, Finding { status: Some(101), problem: None });
    assert!(problem(&at("/wrong")).await.contains("wrong Sec-WebSocket-Accept"));
    assert!(problem(&at("/login")).await.contains("was answered 401 Unauthorized, expected 101"));
}

struct Started {
    targets: watch::Sender<Arc<Vec<Target>>>,
    board: Arc<Board>,
    turns: mpsc::Receiver<Turn>,
    _task: JoinSet<()>,
}

fn started(targets: Vec<Target>) -> Started {
    let (targets, seen) = watch::channel(Arc::new(targets));
    let (turns, turned) = mpsc::channel(16);
    let board = Arc::new(Board::default());
    let mut task = JoinSet::new();
    task.spawn(run(seen, Report { board: Arc::clone(&board), turns }));
    Started { targets, board, turns: turned, _task: task }
}

#[tokio::test]
async fn verdicts_follow_the_upstream_and_every_turn_is_told_once() {
    let well = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let seen = Arc::clone(&well);
    let answer = move |_| {
        let status = if seen.load(Ordering::SeqCst) { 200 } else { 500 };
        Response::builder().status(status).body(full("")).unwrap()
    };
    let (port, _) = upstream(answer, H1, None).await;
    let target = target(&format!("http://127.0.0.1:{port}"), http("/"));
    let live = Arc::clone(&target.live);
    let mut prober = started(vec![target]);
    assert_eq!(prober.turns.recv().await.map(|t| (t.from, t.to)), Some((Health::Unknown, Health::Healthy)));
    assert_eq!(live.health(), Health::Healthy);
    well.store(false, Ordering::SeqCst);
    let turn = prober.turns.recv().await.unwrap();
    assert_eq!((turn.from, turn.to, turn.check.status), (Health::Healthy, Health::Unhealthy, Some(500)));
    well.store(true, Ordering::SeqCst);
    assert_eq!(prober.turns.recv().await.map(|t| t.to), Some(Health::Healthy));
    eventually("the last check is on the board", || prober.board.last(live.id).is_some_and(|c| c.ok)).await;
}

#[tokio::test]
async fn an_unchanged_check_goes_on_over_a_reload_and_a_changed_one_keeps_the_verdict() {
    let (port, asked) = upstream(|_| Response::new(full("")), H1, None).await;
    let mut first = target(&format!("http://127.0.0.1:{port}"), http("/"));
    first.health.interval = Duration::from_secs(3600);
    let live = Arc::clone(&first.live);
    let mut prober = started(vec![first.clone()]);
    assert!(prober.turns.recv().await.is_some());
    let second = target("http://127.0.0.1:1", Check::Tcp);
    let mut other = second.clone();
    other.live = Arc::new(UpstreamLive::new(99, second.live.endpoint.clone(), 1));
    prober.targets.send_replace(Arc::new(vec![first.clone(), other]));
    eventually("the reload was seen", || prober.board.last(99).is_some()).await;
    assert!(prober.turns.recv().await.is_some());
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    first.health.healthy_after = 7;
    prober.targets.send_replace(Arc::new(vec![first]));
    eventually("the changed check has asked", || asked.load(Ordering::SeqCst) == 2).await;
    assert_eq!(live.health(), Health::Healthy);
    prober.targets.send_replace(Arc::default());
    eventually("what is gone is forgotten", || prober.board.last(live.id).is_none()).await;
    assert!(prober.turns.try_recv().is_err());
}

#[test]
fn the_interval_is_jittered_by_a_tenth_at_the_most() {
    let all: Vec<_> = (0..1000).map(|_| jittered(Duration::from_secs(10)).as_secs_f64()).collect();
    assert!(all.iter().all(|s| (9.0..=11.0).contains(s)));
    assert!(all.iter().any(|s| *s < 9.5) && all.iter().any(|s| *s > 10.5));
}
