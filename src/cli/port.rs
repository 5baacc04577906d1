//! Where an admin port is and how to get there: TCP, TLS or a unix socket.
//!
//! It refuses to know what is said over the connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use http::Uri;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// Where an admin port is.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

/// An admin port and what it takes to connect to it.
pub(super) struct Port {
    place: Place,
    tls: Option<TlsConnector>,
}

impl Port {
    /// Reads `admin` as people write it; for https, trusts the authorities in `ca`, else the system's.
    pub(super) fn new(admin: &str, ca: Option<&Path>) -> anyhow::Result<Self> {
        let place = place(admin)?;
        let tls = matches!(place, Place::Tcp { tls: true, .. }).then(|| connector(ca)).transpose()?;
        Ok(Self { place, tls })
    }

    /// What it is called in `Host`.
    pub(super) fn host(&self) -> String {
        match &self.place {
            Place::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp { host, port, .. } => format!("{host}:{port}"),
            Place::Unix(_) => "localhost".to_owned(),
        }
    }

    /// A connection, ready for HTTP.
    pub(super) async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        match (&self.place, &self.tls) {
            (Place::Unix(path), _) => Ok(Box::new(UnixStream::connect(path).await?)),
            (Place::Tcp { host, port, .. }, None) => Ok(Box::new(TcpStream::connect((host.as_str(), *port)).await?)),
            (Place::Tcp { host, port, .. }, Some(tls)) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                let name = ServerName::try_from(host.clone()).context("not a name that a certificate can have")?;
                Ok(Box::new(tls.connect(name, stream).await.context("TLS failed")?))
            }
        }
    }
}

/// Whatever bytes go over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

fn place(text: &str) -> anyhow::Result<Place> {
    if let Some(path) = text.strip_prefix("unix:") {
        ensure!(!path.is_empty(), "--admin {text:?} names no socket; write unix:/run/pointsman.sock");
        return Ok(Place::Unix(path.trim_start_matches("//").into()));
    }
    let wrong =
        || format!("--admin {text:?} is no admin port; write http://HOST:PORT, https://HOST:PORT or unix:/PATH");
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = whole.parse().with_context(wrong)?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => anyhow::bail!(wrong()),
    };
    ensure!(matches!(uri.path(), "" | "/") && uri.query().is_none(), wrong());
    let host = uri.host().with_context(wrong)?.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Place::Tcp { host, port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }), tls })
}

/// Trusts the authorities in `ca`, else the system's.
fn connector(ca: Option<&Path>) -> anyhow::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    match ca {
        Some(path) => {
            let unreadable = || format!("the authorities in {} cannot be read", path.display());
            for certificate in CertificateDer::pem_file_iter(path).with_context(unreadable)? {
                roots.add(certificate.with_context(unreadable)?).with_context(unreadable)?;
            }
            ensure!(!roots.is_empty(), "{} holds no certificate; it takes PEM", path.display());
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.context("TLS cannot be set up")?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_port_is_written_as_people_write_it() {
        let tcp = |host: &str, port, tls| Place::Tcp { host: host.into(), port, tls };
        for (text, expected) in [
            ("http://127.0.0.1:7070", tcp("127.0.0.1", 7070, false)),
            ("https://ops.example.com/", tcp("ops.example.com", 443, true)),
            ("localhost:7070", tcp("localhost", 7070, false)),
            ("http://[::1]:7070", tcp("::1", 7070, false)),
            ("unix:/run/p.sock", Place::Unix("/run/p.sock".into())),
            ("unix:///run/p.sock", Place::Unix("/run/p.sock".into())),
        ] {
            assert_eq!(place(text).unwrap(), expected, "{text}");
        }
        for text in ["", "ftp://x", "http://", "http://x/y", "unix:", "http://x?y"] {
            let error = format!("{:#}", place(text).unwrap_err());
            assert!(error.contains("--admin"), "{text}: {error}");
        }
    }
}
