//! Certificates: from PEM files to what rustls takes, for ports and toward upstreams.
//!
//! There is one crypto provider, aws-lc-rs, and it is always named: another crate in the graph could otherwise make
//! rustls panic for want of a default. Who presents which certificate to whom is decided here; when files are read
//! again is the registry's business.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use ::aws_lc_rs::digest::{Context, SHA256};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig};

use crate::config::spec;

/// What a port or a client offers: HTTP/2 first, then HTTP/1.1.
pub const HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// SHA-256 of files' contents: equal contents share a configuration.
pub(super) type Digest = [u8; 32];

/// The one provider of cryptography.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The files behind a [`spec::Tls`], read.
#[derive(Debug)]
pub struct ServerFiles<'a> {
    tls: &'a spec::Tls,
    /// Chain and key of each certificate.
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    client_ca: Option<Vec<u8>>,
}

impl<'a> ServerFiles<'a> {
    /// Reads all files of `tls`.
    ///
    /// # Errors
    /// One line for each file that cannot be read.
    pub fn read(tls: &'a spec::Tls) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let mut read = |path: &Path| {
            contents(path).unwrap_or_else(|e| {
                errors.push(e);
                Vec::new()
            })
        };
        let pairs = tls.certificates.iter().map(|c| (read(&c.cert), read(&c.key))).collect();
        let client_ca = tls.client_ca.as_deref().map(&mut read);
        if errors.is_empty() { Ok(Self { tls, pairs, client_ca }) } else { Err(errors) }
    }

    /// Tells whether anything in the files has changed.
    pub(super) fn digest(&self) -> Digest {
        let parts = self.pairs.iter().flat_map(|(cert, key)| [cert, key]).chain(&self.client_ca);
        digest(parts.map(Vec::as_slice))
    }

    /// The configuration of a port: certificate by SNI, session tickets, client certificates where an authority for
    /// them is given, `alpn` in order of preference.
    ///
    /// # Errors
    /// One line for each file that makes no sense, naming it.
    pub fn config(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, Vec<String>> {
        let provider = provider();
        let mut errors = Vec::new();
        let mut keys = Vec::new();
        for (files, (cert, key)) in self.tls.certificates.iter().zip(&self.pairs) {
            match certified(files, cert, key, &provider) {
                Ok(key) => keys.push(key),
                Err(e) => errors.push(e),
            }
        }
        let roots = match (&self.tls.client_ca, &self.client_ca) {
            (Some(path), Some(pem)) => authorities(path, pem).map_err(|e| errors.push(e)).ok(),
            _ => None,
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        assembled(provider, keys, roots, alpn).map_err(|e| vec![format!("TLS cannot be set up: {e}")])
    }
}

/// Reads the files of `tls` and makes the configuration of a port of them.
///
/// # Errors
/// One line for each file that cannot be read or makes no sense.
pub fn server_config(tls: &spec::Tls, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, Vec<String>> {
    ServerFiles::read(tls)?.config(alpn)
}

fn assembled(
    provider: Arc<CryptoProvider>,
    keys: Vec<CertifiedKey>,
    roots: Option<RootCertStore>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error>> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match roots {
        Some(roots) => builder
            .with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(BySni::new(keys)));
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// The configuration toward upstreams that trust `ca` (a path and its contents), or the system's authorities.
///
/// # Errors
/// A line that names the file, or says that the system has no authorities.
pub(super) fn client_config(ca: Option<(&Path, &[u8])>) -> Result<Arc<ClientConfig>, String> {
    let roots = match ca {
        Some((path, pem)) => authorities(path, pem)?,
        None => system_authorities()?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = HTTP.iter().map(|p| p.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Reads a file, with the path in the error.
pub(super) fn contents(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("{}: cannot be read: {e}", path.display()))
}

/// SHA-256 over all `parts`, each with its length.
pub(super) fn digest<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

fn certified(
    files: &spec::CertificateFiles,
    cert: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let (cert_path, key_path) = (files.cert.display(), files.key.display());
    let chain = chain(&files.cert, cert)?;
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|e| format!("{key_path}: holds no private key in PEM: {e}"))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|e| match e {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("{cert_path} and {key_path} do not belong together: the key is another certificate's")
        }
        e => format!("{cert_path} with {key_path}: cannot be used: {e}"),
    })
}

fn chain(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(format!("{}: holds no certificate in PEM", path.display())),
        Ok(chain) => Ok(chain),
        Err(e) => Err(format!("{}: is no PEM: {e}", path.display())),
    }
}

fn authorities(path: &Path, pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path, pem)? {
        roots.add(certificate).map_err(|e| format!("{}: holds no usable authority: {e}", path.display()))?;
    }
    Ok(roots)
}

fn system_authorities() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system's bundle may well hold some that rustls does not take; the others still count.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        return Err("the system has no certificate authorities; install ca-certificates, or set `ca`".to_owned());
    }
    Ok(roots)
}

/// Chooses the certificate by the name that the client asks for: exact host, then wildcard, else the first one.
#[derive(Debug)]
struct BySni {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what comes after `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
}

impl BySni {
    fn new(keys: Vec<CertifiedKey>) -> Self {
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        let keys: Vec<_> = keys.into_iter().map(Arc::new).collect();
        for key in &keys {
            for name in names(key) {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut wildcard, rest.to_owned()),
                    None => (&mut exact, name),
                };
                map.entry(name).or_insert_with(|| Arc::clone(key));
            }
        }
        Self { exact, wildcard, first: keys.into_iter().next() }
    }

    fn choose(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let named = name.map(str::to_ascii_lowercase).and_then(|name| {
            let parent = name.split_once('.').map(|(_, parent)| parent);
            self.exact.get(&name).or_else(|| self.wildcard.get(parent?))
        });
        named.or(self.first.as_ref())
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name()).cloned()
    }
}

/// The DNS names in a certificate, in lower case.
fn names(key: &CertifiedKey) -> Vec<String> {
    let certificate = key.cert.first().and_then(|leaf| webpki::EndEntityCert::try_from(leaf).ok());
    certificate.map(|c| c.valid_dns_names().map(str::to_ascii_lowercase).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::samples::certificate;

    fn tls(certificates: Vec<spec::CertificateFiles>) -> spec::Tls {
        spec::Tls { certificates, client_ca: None }
    }

    #[test]
    fn the_certificate_is_chosen_by_exact_name_then_wildcard_then_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let tls = tls(vec![
            certificate(folder.path(), "first.test"),
            certificate(folder.path(), "*.shop.test"),
            certificate(folder.path(), "a.shop.test"),
        ]);
        let files = ServerFiles::read(&tls).unwrap();
        let keys = files.tls.certificates.iter().zip(&files.pairs);
        let keys = keys.map(|(f, (cert, key))| certified(f, cert, key, &provider()).unwrap()).collect();
        let resolver = BySni::new(keys);
        let chosen = |name| names(resolver.choose(name).unwrap()).remove(0);
        for (asked, expected) in [
            (Some("first.test"), "first.test"),
            (Some("A.shop.test"), "a.shop.test"),
            (Some("b.shop.test"), "*.shop.test"),
            (Some("x.b.shop.test"), "first.test"),
            (Some("shop.test"), "first.test"),
            (Some("test"), "first.test"),
            (None, "first.test"),
        ] {
            assert_eq!(chosen(asked), expected, "{asked:?}");
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_an_error_that_names_both_files() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (certificate(folder.path(), "a.test"), certificate(folder.path(), "b.test"));
        let mixed = spec::CertificateFiles { cert: a.cert.clone(), key: b.key.clone() };
        let errors = server_config(&tls(vec![mixed]), &HTTP).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains("do not belong together"), "{errors:?}");
        assert!(errors[0].contains(&*a.cert.to_string_lossy()) && errors[0].contains(&*b.key.to_string_lossy()));
    }

    #[test]
    fn every_file_that_is_missing_or_makes_no_sense_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let good = certificate(folder.path(), "a.test");
        let missing = |name: &str| folder.path().join(name);
        let files = spec::CertificateFiles { cert: missing("c.pem"), key: missing("k.pem") };
        let errors = server_config(&tls(vec![files]), &HTTP).unwrap_err();
        assert!(errors.len() == 2 && errors[0].contains("c.pem") && errors[1].contains("k.pem"), "{errors:?}");
        std::fs::write(missing("empty"), "").unwrap();
        let swapped = spec::CertificateFiles { cert: good.key.clone(), key: good.cert.clone() };
        let tls = spec::Tls { certificates: vec![swapped], client_ca: Some(missing("empty")) };
        let errors = server_config(&tls, &HTTP).unwrap_err();
        assert!(errors.len() == 2 && errors[1].contains("holds no certificate"), "{errors:?}");
    }

    #[test]
    fn a_port_offers_http_2_and_session_tickets() {
        let folder = tempfile::tempdir().unwrap();
        let config = server_config(&tls(vec![certificate(folder.path(), "a.test")]), &HTTP).unwrap();
        assert_eq!(config.alpn_protocols, HTTP);
        assert!(config.ticketer.enabled());
    }
}
