//! What the client promises: one answer within its time, and no secrets.

use std::sync::Mutex;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::control::samples;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-seen: yes\r\n\r\nok";

/// Answers each connection with `answer`; gives its port and the requests it was sent.
async fn server(answer: &'static str, tls: Option<Arc<rustls::ServerConfig>>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, heard) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<String>>>::default());
    let noted = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (noted, tls) = (Arc::clone(&noted), tls.clone());
            tokio::spawn(async move {
                let Some(tls) = tls else { return answered(stream, answer, &noted).await };
                if let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await {
                    answered(stream, answer, &noted).await;
                }
            });
        }
    });
    (port, heard)
}

/// Reads one request, as long as its `content-length` says, and answers; an empty answer is none.
async fn answered(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str, heard: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |n| n.parse().unwrap()) {
                heard.lock().unwrap().push(text);
                break;
            }
        }
        let mut part = [0; 1024];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(n) => request.extend_from_slice(&part[..n]),
        }
    }
    if answer.is_empty() {
        std::future::pending::<()>().await;
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    // The client goes when it has what it wants; the peer of TLS may not say goodbye.
    let _ = stream.read(&mut [0]).await;
}

fn client() -> Client {
    Client::new(&[])
}

fn quick(url: &str) -> Ask {
    Ask { timeout: Duration::from_millis(200), ..Ask::new(Method::GET, url) }
}

#[tokio::test]
async fn a_request_says_what_it_is_to_say_and_the_answer_comes_whole() {
    let (port, heard) = server(OK, None).await;
    let url = format!("http://ops:pa%20ss@127.0.0.1:{port}/a/b?c=d#e");
    let mut ask = Ask::post(&url, &serde_json::json!({ "a": 1 }));
    ask.headers.insert("x-mine", HeaderValue::from_static("1"));
    let answer = client().ask(ask).await.unwrap();
    assert_eq!(
        (answer.status, &answer.body[..], answer.headers["x-seen"].as_bytes()),
        (StatusCode::OK, &b"ok"[..], &b"yes"[..])
    );
    let heard = heard.lock().unwrap().concat();
    assert!(heard.starts_with("POST /a/b?c=d HTTP/1.1\r\n") && heard.ends_with("\r\n\r\n{\"a\":1}"), "{heard}");
    let agent = concat!("user-agent: pointsman/", env!("CARGO_PKG_VERSION"));
    let host = format!("host: 127.0.0.1:{port}");
    let credentials = "authorization: Basic b3BzOnBhIHNz";
    for line in [agent, &host, credentials, "connection: close", "x-mine: 1", "content-type: application/json"] {
        assert!(heard.lines().any(|l| l == line), "{line} is not in {heard}");
    }
}

#[tokio::test]
async fn any_status_is_an_answer_and_redirects_are_not_followed() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let failed = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops";
    for (answer, status, body) in [(moved, 302, ""), (failed, 500, "oops")] {
        let (port, heard) = server(answer, None).await;
        let answer = client().ask(Ask::new(Method::GET, &format!("http://127.0.0.1:{port}/"))).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, body.as_bytes()));
        assert_eq!(heard.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn of_an_endless_answer_a_bounded_part_is_read_and_none_where_the_head_will_do() {
    let body: &'static str = Box::leak("x".repeat(200_000).into_boxed_str());
    let answer = Box::leak(format!("HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n{body}").into_boxed_str());
    let (port, _) = server(answer, None).await;
    let url = format!("http://127.0.0.1:{port}/");
    let read = async |wanted| client().ask(Ask { wanted, ..Ask::new(Method::GET, &url) }).await.unwrap().body.len();
    assert_eq!((read(Wanted::Body).await, read(Wanted::Head).await), (64 * 1024, 0));
}

#[tokio::test]
async fn why_there_is_no_answer_is_said_without_path_and_credentials() {
    let (silent, _) = server("", None).await;
    let (broken, _) = server("no HTTP at all\r\n\r\n", None).await;
    let closed = samples::free_port();
    for (port, expected) in [(silent, "did not answer in time"), (broken, "broke off"), (closed, "cannot connect")] {
        let trouble = client().ask(quick(&format!("http://u:secret@127.0.0.1:{port}/secret"))).await.unwrap_err();
        let text = trouble.to_string();
        assert!(text.contains(expected) && text.contains(&format!("127.0.0.1:{port}")), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
    assert!(matches!(client().ask(quick("ftp://127.0.0.1/")).await, Err(Trouble::BadUrl(_))));
}

#[tokio::test]
async fn https_is_spoken_with_those_only_whom_an_authority_vouches_for() {
    let folder = tempfile::tempdir().unwrap();
    let files = samples::certificate(folder.path(), "localhost");
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.cert).unwrap().map(Result::unwrap).collect();
    let config = rustls::ServerConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let config = config.unwrap().with_no_client_auth().with_single_cert(chain.clone(), key).unwrap();
    let (port, heard) = server(OK, Some(Arc::new(config))).await;
    let (url, other) = (format!("https://localhost:{port}/"), format!("https://127.0.0.1:{port}/"));

    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let trusting = ClientConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions();
    let trusting = trusting.unwrap().with_root_certificates(roots).with_no_client_auth();
    let client = client();
    client.tls.set(Arc::new(trusting)).unwrap();
    assert_eq!(client.ask(Ask::new(Method::GET, &url)).await.unwrap().status, StatusCode::OK);
    let trouble = client.ask(Ask::new(Method::GET, &other)).await.unwrap_err();
    assert!(matches!(trouble, Trouble::Untrusted { .. }), "another name than the certificate's: {trouble}");

    let strict = Client::new(&[]);
    let nobody = ClientConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions();
    let nobody = nobody.unwrap().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    strict.tls.set(Arc::new(nobody)).unwrap();
    assert!(matches!(strict.ask(Ask::new(Method::GET, &url)).await, Err(Trouble::Untrusted { .. })));
    assert_eq!(heard.lock().unwrap().len(), 1, "nothing was said to whoever is not trusted");
}
