//! The PROXY protocol, version 1 and 2: who the client is, as told by the proxy in front of us ahead of everything else
//! on the connection, TLS included (HAProxy's `doc/proxy-protocol.txt`).
//!
//! A listener that expects it takes no connection without it, so that nobody can leave it out; where the listener names
//! `trusted_proxies`, nobody else may speak it. Exactly the header's bytes are read, so whoever reads next misses none.

use std::io;
use std::net::IpAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::routing::table::{Listener, allowed};

/// Longest header of version 1, by its specification.
const LONGEST_V1: usize = 107;
/// Longest header of version 2 that is taken: addresses and a few KiB of further fields, which are passed over.
const LONGEST_V2: usize = 4096;
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 up to its length.
const FIXED_V2: usize = 16;
/// `PROXY UNKNOWN` and the end of the line: no header is shorter.
const SHORTEST: usize = 15;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// So far a header, of which at least so many bytes are still to come.
    Incomplete { missing: usize },
    /// A whole one. No source: the proxy speaks for itself, or does not know.
    Header { source: Option<IpAddr>, length: usize },
    /// Something else.
    Invalid,
}

/// Looks at the first bytes of a connection.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let begins = |signature: &[u8]| {
        let n = bytes.len().min(signature.len());
        bytes[..n] == signature[..n]
    };
    match (begins(V1), begins(V2)) {
        (true, _) if bytes.len() >= SHORTEST => version_1(bytes),
        (_, true) if bytes.len() >= FIXED_V2 => version_2(bytes),
        (false, false) => Parsed::Invalid,
        (v1, _) => Parsed::Incomplete { missing: if v1 { SHORTEST } else { FIXED_V2 }.max(SHORTEST) - bytes.len() },
    }
}

fn version_1(bytes: &[u8]) -> Parsed {
    let window = &bytes[..bytes.len().min(LONGEST_V1)];
    match window.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) => whole(&bytes[..end + 2]),
        None if bytes.len() >= LONGEST_V1 => Parsed::Invalid,
        None => Parsed::Incomplete { missing: missing_of_version_1(bytes).min(LONGEST_V1 - bytes.len()) },
    }
}

/// Behind `PROXY` come four fields and a line's end, each field with at least one character; behind `UNKNOWN` there may
/// be anything.
fn missing_of_version_1(bytes: &[u8]) -> usize {
    let end = if bytes.ends_with(b"\r") { 1 } else { 2 };
    let spaces = bytes.split(|b| *b == b' ').skip(1).count();
    if bytes.starts_with(b"PROXY TCP") { 2 * 5_usize.saturating_sub(spaces) + end } else { end }
}

fn version_2(bytes: &[u8]) -> Parsed {
    let length = FIXED_V2 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    match bytes.get(..length) {
        _ if length > LONGEST_V2 => Parsed::Invalid,
        Some(header) => whole(header),
        None => Parsed::Incomplete { missing: length - bytes.len() },
    }
}

/// `bytes` is a header from its first to its last byte, if it is one.
fn whole(bytes: &[u8]) -> Parsed {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(bytes, config) {
        Ok((header, length)) if length == bytes.len() => {
            Parsed::Header { source: header.proxied_address().map(|a| a.source.ip()), length }
        }
        _ => Parsed::Invalid,
    }
}

/// Reads a header and nothing behind it. The caller bounds the wait.
async fn read<I: AsyncRead + Unpin>(io: &mut I) -> io::Result<Option<IpAddr>> {
    let mut bytes = Vec::with_capacity(LONGEST_V1);
    loop {
        match parse(&bytes) {
            Parsed::Header { source, .. } => return Ok(source),
            Parsed::Invalid => return Err(io::ErrorKind::InvalidData.into()),
            Parsed::Incomplete { missing } => {
                let begin = bytes.len();
                bytes.resize(begin + missing, 0);
                let n = io.read(&mut bytes[begin..]).await?;
                if n == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                bytes.truncate(begin + n);
            }
        }
    }
}

/// Who the client on a new connection is: the peer, or at a listener that expects the PROXY protocol whom that names.
///
/// # Errors
/// There is no header, none in time, or the peer may not speak for others; the connection is to be closed.
pub(super) async fn client<I: AsyncRead + Unpin>(
    io: &mut I,
    peer: Option<IpAddr>,
    listener: &Listener,
) -> io::Result<Option<IpAddr>> {
    if !listener.proxy_protocol {
        return Ok(peer);
    }
    if !allowed(&listener.trusted_proxies, peer) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(tokio::time::timeout(listener.head_timeout, read(io)).await??.or(peer))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::{Arc, Weak};
    use std::time::Duration;

    use proptest::prelude::*;
    use proxy_header::{ProxiedAddress, Tlv};
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::config::spec::SendsTo;
    use crate::model::names::ListenerName;
    use crate::routing::live::ListenerLive;

    fn v1(line: &str) -> Parsed {
        parse(line.as_bytes())
    }

    fn header(source: Option<&str>, length: usize) -> Parsed {
        Parsed::Header { source: source.map(|s| s.parse().unwrap()), length }
    }

    #[test]
    fn a_line_of_version_1_names_the_client_or_says_that_it_is_unknown() {
        assert_eq!(v1("PROXY TCP4 10.1.2.3 10.0.0.1 5000 443\r\nGET /"), header(Some("10.1.2.3"), 39));
        assert_eq!(v1("PROXY TCP6 2001:db8::1 ::1 5000 443\r\n"), header(Some("2001:db8::1"), 37));
        assert_eq!(v1("PROXY UNKNOWN\r\n"), header(None, 15));
        assert_eq!(v1("PROXY UNKNOWN ff:f::1 whatever 1 2\r\nGET"), header(None, 36));
        for wrong in [
            "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET",
            "PROXYX",
            "PROXY  TCP4 10.1.2.3 10.0.0.1 1 2\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 1 65536\r\n",
            "PROXY TCP4 2001:db8::1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 1\r\nGET / HTTP/1.1\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 1 2 3\r\n",
            "PROXY UDP4 10.1.2.3 10.0.0.1 1 2\r\n",
        ] {
            assert_eq!(v1(wrong), Parsed::Invalid, "{wrong}");
        }
        assert_eq!(v1(&format!("PROXY UNKNOWN {}", "x".repeat(93))), Parsed::Invalid, "too long");
        assert!(matches!(v1(&format!("PROXY UNKNOWN {}", "x".repeat(92))), Parsed::Incomplete { missing: 1 }));
    }

    #[test]
    fn version_2_names_the_client_unless_the_proxy_speaks_for_itself_and_has_an_end() {
        let with = |version_command: u8, family: u8, length: u16, rest: &[u8]| {
            parse(&[V2, &[version_command, family], &length.to_be_bytes(), rest].concat())
        };
        let addresses = [10, 1, 2, 3, 10, 0, 0, 1, 0x13, 0x88, 1, 0xbb];
        assert_eq!(with(0x21, 0x11, 12, &addresses), header(Some("10.1.2.3"), 28));
        assert_eq!(with(0x20, 0x11, 12, &addresses), header(None, 28));
        assert_eq!(with(0x20, 0, 0, b"GET"), header(None, 16));
        assert_eq!(with(0x21, 0x31, 216, &[0; 216]), header(None, 232), "a unix socket has no address");
        assert_eq!(with(0x21, 0x11, 11, &addresses), Parsed::Invalid);
        assert_eq!(with(0x31, 0x11, 12, &addresses), Parsed::Invalid);
        assert_eq!(with(0x21, 0x11, 4081, &addresses), Parsed::Invalid, "longer than is taken");
        assert_eq!(with(0x21, 0x11, 4080, &addresses), Parsed::Incomplete { missing: 4068 });
    }

    #[tokio::test]
    async fn who_may_not_speak_it_or_does_not_or_not_in_time_is_sent_away() {
        let listener = |yes: bool, trusted: &str| Listener {
            id: 1,
            name: ListenerName::new("web").unwrap(),
            sockets: Weak::new(),
            tls: None,
            sends_to: SendsTo::Split,
            allow: Vec::new(),
            trusted_proxies: trusted.parse().into_iter().collect(),
            proxy_protocol: yes,
            max_connections: None,
            head_timeout: Duration::from_millis(20),
            idle_timeout: Duration::from_secs(75),
            live: Arc::new(ListenerLive::new(1)),
        };
        let (lan, wan): (IpAddr, IpAddr) = ("10.0.0.9".parse().unwrap(), "192.0.2.9".parse().unwrap());
        let ask = async |bytes: &[u8], peer: IpAddr, listener: Listener| {
            let (mut far, mut near) = tokio::io::duplex(4096);
            far.write_all(bytes).await.unwrap();
            client(&mut near, Some(peer), &listener).await.map_err(|e| e.kind())
        };
        let line = b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\n";
        let told = Ok(Some("203.0.113.7".parse().unwrap()));
        assert_eq!(ask(line, lan, listener(true, "10.0.0.0/8")).await, told);
        assert_eq!(ask(line, wan, listener(true, "")).await, told, "nobody is named, so everybody may");
        assert_eq!(ask(line, wan, listener(true, "10.0.0.0/8")).await, Err(io::ErrorKind::PermissionDenied));
        assert_eq!(ask(b"GET /", lan, listener(true, "")).await, Err(io::ErrorKind::InvalidData));
        assert_eq!(ask(&line[..20], lan, listener(true, "")).await, Err(io::ErrorKind::TimedOut));
        assert_eq!(ask(b"PROXY UNKNOWN\r\n", lan, listener(true, "")).await, Ok(Some(lan)));
        assert_eq!(ask(line, wan, listener(false, "")).await, Ok(Some(wan)), "it is not even looked at");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_it_waits_for_has_an_end(
            start in prop_oneof![Just(b"".as_slice()), Just(V1), Just(V2), Just(b"PROXY TCP4 ".as_slice())],
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, &rest].concat();
            match parse(&bytes) {
                Parsed::Incomplete { missing } => prop_assert!(missing > 0 && bytes.len() + missing <= LONGEST_V2),
                Parsed::Header { length, .. } => prop_assert!(length <= bytes.len()),
                Parsed::Invalid => {}
            }
        }

        #[test]
        fn a_header_is_read_to_its_last_byte_and_not_further_however_it_comes(
            source: SocketAddr, destination: SocketAddr, second in any::<bool>(), tlv in 0_usize..200, piece in 1_usize..40,
        ) {
            let destination = if source.is_ipv4() == destination.is_ipv4() { destination } else { source };
            let mut header = ProxyHeader::with_address(ProxiedAddress::stream(source, destination));
            let mut buffer = [0; 1024];
            let length = if second {
                header.append_tlv(Tlv::Custom(0xe0, vec![7; tlv].into()));
                header.encode_to_slice_v2(&mut buffer).unwrap()
            } else {
                header.encode_to_slice_v1(&mut buffer).unwrap()
            };
            for end in 0..length {
                let parsed = parse(&buffer[..end]);
                let Parsed::Incomplete { missing } = parsed else { panic!("{end} of {length}: {parsed:?}") };
                prop_assert!(end + missing <= length, "{end} + {missing} of {length}");
            }
            let all = [&buffer[..length], b"what comes next"].concat();
            prop_assert_eq!(parse(&all), Parsed::Header { source: Some(source.ip()), length });
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (told, rest) = runtime.block_on(async {
                let (mut far, mut near) = tokio::io::duplex(piece);
                let sending = tokio::spawn(async move { far.write_all(&all).await });
                let told = read(&mut near).await.unwrap();
                let mut rest = Vec::new();
                near.read_to_end(&mut rest).await.unwrap();
                sending.await.unwrap().unwrap();
                (told, rest)
            });
            prop_assert_eq!((told, rest.as_slice()), (Some(source.ip()), b"what comes next".as_slice()));
        }
    }
}
