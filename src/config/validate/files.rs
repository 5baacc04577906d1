//! Certificates, keys and authorities: whether they are there and fit. They are read again when put to work.

use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::check::Check;
use crate::config::file::Maybe;
use crate::config::problem::Place;
use crate::config::spec::CertificateFiles;
use crate::config::yaml::{At, quote};

/// Longest accepted file, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// The bytes of a file that the configuration refers to at `at`, and its path. Takes note of it for the watcher.
pub(super) fn content(check: &Check<'_>, at: &At<String>, right: &str) -> Option<(PathBuf, Vec<u8>)> {
    let text = at.value.as_ref()?;
    let path = check.path(text);
    check.files.borrow_mut().push(path.clone());
    match read(&path) {
        Ok(bytes) => Some((path, bytes)),
        Err(error) => check.add(at.place, format!("the file {} cannot be read ({error}); name {right}", quote(text))),
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    // A device or a pipe could keep us waiting for ever; it is not even opened.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other("it is longer than 4 MiB"));
    }
    Ok(bytes)
}

/// A certificate chain and its key: both must be PEM and belong together.
pub(super) fn pair(
    check: &Check<'_>,
    owner: Place,
    cert: &Maybe<String>,
    key: &Maybe<String>,
) -> Option<CertificateFiles> {
    const CERT: &str = "a PEM file with the certificate chain";
    const KEY: &str = "a PEM file with the private key";
    let chain = check.need(owner, "cert", CERT, cert).and_then(|at| chain(check, at, CERT));
    let private = check.need(owner, "key", KEY, key).and_then(|at| private_key(check, at, KEY));
    let ((cert_path, chain), (key_path, private)) = (chain?, private?);
    let place = key.as_ref().map_or(owner, |at| at.place);
    match CertifiedKey::from_der(chain, private, &rustls::crypto::aws_lc_rs::default_provider()) {
        Ok(_) => Some(CertificateFiles { cert: cert_path, key: key_path }),
        Err(rustls::Error::InconsistentKeys(_)) => {
            check.add(place, "this key does not belong to the certificate; name the key that it was made with")
        }
        Err(error) => check.add(place, format!("the certificate and its key cannot be used ({error}); make new ones")),
    }
}

type Chain = Vec<CertificateDer<'static>>;

fn chain(check: &Check<'_>, at: &At<String>, right: &str) -> Option<(PathBuf, Chain)> {
    let (path, bytes) = content(check, at, right)?;
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Chain, _>>() {
        Ok(chain) if chain.is_empty() => {
            check.add(at.place, format!("the file has no certificate in it; name {right}"))
        }
        Ok(chain) => Some((path, chain)),
        Err(error) => check.add(at.place, format!("the file is not PEM ({error}); name {right}")),
    }
}

fn private_key(check: &Check<'_>, at: &At<String>, right: &str) -> Option<(PathBuf, PrivateKeyDer<'static>)> {
    let (path, bytes) = content(check, at, right)?;
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Some((path, key)),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            check.add(at.place, format!("the file has no private key in it; name {right}"))
        }
        Err(error) => check.add(at.place, format!("the file is not PEM ({error}); name {right}")),
    }
}

/// A file with the certificates of authorities; `Some(None)` when left out.
pub(super) fn authority(check: &Check<'_>, field: &Maybe<String>) -> Option<Option<PathBuf>> {
    let Some(at) = field else { return Some(None) };
    let (path, certificates) = chain(check, at, "a PEM file with the authority's certificate")?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates {
        if let Err(error) = roots.add(certificate) {
            return check.add(at.place, format!("a certificate in the file cannot be used ({error}); make a new one"));
        }
    }
    Some(Some(path))
}
