//! The PROXY protocol: the client is whom the proxy in front names, and nobody gets around it.

use crate::support::certs::Authority;
use crate::support::haproxy::Haproxy;
use crate::support::proxy::blue_green;
use crate::support::tls::Dial;
use crate::support::{Answer, Client, Proxy, Upstream};

/// Blue and green behind a listener that expects the header, with these further keys.
async fn expecting(listener: &str, blue: &Upstream, green: &Upstream) -> Proxy {
    blue.answer(Answer::Mirror);
    let listener = format!("@web@\", proxy_protocol: true{listener} }}");
    Proxy::start(&blue_green(blue, green, "").replace("@web@\" }", &listener)).await
}

/// What the upstream was told about who the client is.
async fn told(client: &mut Client) -> (String, String) {
    let seen = client.get("/").await.expect(200).json();
    let field = |name: &str| {
        let fields = seen["fields"].as_array().unwrap();
        let found = fields.iter().find(|f| f[0] == name).unwrap_or_else(|| panic!("no {name} in {seen}"));
        found[1].as_str().unwrap().to_owned()
    };
    (field("x-forwarded-for"), field("x-forwarded-proto"))
}

fn is(address: &str, proto: &str) -> (String, String) {
    (address.to_owned(), proto.to_owned())
}

#[tokio::test]
async fn the_client_is_whom_the_header_names_also_when_it_comes_in_pieces() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = expecting("", &blue, &green).await;
    let v2 = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10".as_slice(), &[203, 0, 113, 8, 10, 0, 0, 1, 1, 1, 2, 2, 4, 0, 1, 9]];
    let v2 = v2.concat();
    let v1 = b"PROXY TCP6 2001:db8::7 ::1 5000 443\r\n".to_vec();
    for (header, client) in [(v1, "2001:db8::7"), (v2, "203.0.113.8")] {
        let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        for pieces in [vec![[&header, &request[..]].concat()], header.iter().map(|b| vec![*b]).collect()] {
            let whole = pieces.len() == 1;
            let mut connection = proxy.client().await;
            for piece in pieces {
                connection.send(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            if whole {
                let seen = connection.response_to("GET").await.unwrap().expect(200).text();
                assert!(seen.contains(client), "{seen}");
            }
            assert_eq!(told(&mut connection).await, is(client, "http"));
        }
    }
}

#[tokio::test]
async fn a_proxy_that_speaks_for_itself_is_the_client() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = expecting("", &blue, &green).await;
    for header in [b"PROXY UNKNOWN\r\n".as_slice(), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut connection = proxy.client().await;
        connection.send(header).await.unwrap();
        assert_eq!(told(&mut connection).await, is("127.0.0.1", "http"));
    }
}

#[tokio::test]
async fn a_connection_without_a_header_or_from_a_stranger_is_closed_unheard() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = expecting(", trusted_proxies: [127.0.0.0/8], head_timeout: 500ms", &blue, &green).await;
    for (bytes, why) in [
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".as_slice(), "it begins with the request"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "it is broken"),
        (b"PROXY TCP4 1.2.3.4", "it does not go on"),
        (b"", "nothing comes"),
    ] {
        let mut connection = proxy.client().await;
        connection.send(bytes).await.unwrap();
        let rest = connection.receive_rest().await.unwrap_or_default();
        assert!(rest.is_empty(), "{why}: {:?}", String::from_utf8_lossy(&rest));
    }
    assert_eq!(blue.requests(), 0);
    let mut connection = proxy.client().await;
    connection.send(b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\n").await.unwrap();
    assert_eq!(told(&mut connection).await, is("203.0.113.7", "http"));

    let strict = expecting(", trusted_proxies: [192.0.2.0/24]", &blue, &green).await;
    let mut stranger = strict.client().await;
    let _ = stranger.send(b"PROXY TCP4 192.0.2.1 10.0.0.1 5000 443\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(stranger.receive_rest().await.unwrap_or_default().is_empty(), "a stranger speaks for others");
}

#[tokio::test]
async fn haproxy_in_front_is_understood_in_both_versions_in_clear_and_around_tls() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    blue.answer(Answer::Mirror);
    let authority = Authority::new();
    let files = authority.issue("web", &["localhost"]);
    let secure = format!(
        "@web@\", proxy_protocol: true }}, secure: {{ bind: \"127.0.0.1:@secure@\", proxy_protocol: true, \
         tls: {{ certificates: [{{ cert: {}, key: {} }}] }} }}",
        files.cert.display(),
        files.key.display()
    );
    let proxy = Proxy::start(&blue_green(&blue, &green, "").replace("@web@\" }", &secure)).await;
    for version in ["send-proxy", "send-proxy-v2"] {
        let in_clear = Haproxy::start(proxy.address("web"), version).await;
        // The source address of a connection of ours, which HAProxy passes on, and which is not HAProxy's own.
        let mut client = Client::over(in_clear.connect_from("127.0.0.77").await, "localhost");
        assert_eq!(told(&mut client).await, is("127.0.0.77", "http"), "{version}");
        let around_tls = Haproxy::start(proxy.address("secure"), version).await;
        let stream = around_tls.connect_from("127.0.0.78").await;
        let stream = Dial::to(&authority, "localhost").over(stream).await.unwrap();
        let mut client = Client::over(stream, "localhost");
        assert_eq!(told(&mut client).await, is("127.0.0.78", "https"), "{version}");
    }
}
