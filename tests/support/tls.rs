//! TLS as a client of the proxy speaks it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certs::{Authority, Files};

/// How to connect.
pub struct Dial<'a> {
    /// Who is trusted.
    pub authority: &'a Authority,
    /// The name asked for, as SNI and in the certificate.
    pub name: &'a str,
    /// Protocols offered.
    pub alpn: &'a [&'a str],
    /// The certificate shown.
    pub identity: Option<&'a Files>,
}

impl<'a> Dial<'a> {
    /// HTTP/1.1, and no certificate of its own.
    pub fn to(authority: &'a Authority, name: &'a str) -> Self {
        Self { authority, name, alpn: &["http/1.1"], identity: None }
    }

    /// Connects and shakes hands. With TLS 1.3 a server that wants another certificate says so only afterwards.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        self.over(TcpStream::connect(address).await?).await
    }

    /// The handshake over a connection.
    pub async fn over(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match self.identity {
            Some(files) => builder.with_client_auth_cert(chain(&files.cert), key(&files.key)).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

/// The certificates in a PEM file.
pub fn chain(file: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file).unwrap().collect::<Result<_, _>>().unwrap()
}

/// The private key in a PEM file.
pub fn key(file: &Path) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(file).unwrap()
}

/// The certificate that the server showed.
pub fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}
