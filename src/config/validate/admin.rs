//! `admin` and `state`: who may change traffic, and where it is written down.

use std::net::{Ipv4Addr, SocketAddr};

use super::check::{Check, all};
use super::listeners::bind;
use super::{files, text};
use crate::config::file::{self, Maybe};
use crate::config::problem::Place;
use crate::config::spec::{Admin, Bind, Role, State, Tls, Token};
use crate::config::yaml::At;

/// Actors in the audit log that are no tokens.
const RESERVED: [&str; 4] = ["local", "file", "pointsman", "link"];

/// Where the admin port is when the file does not say.
pub(super) fn default_listen() -> Bind {
    Bind::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)))
}

/// The admin port.
pub(super) fn admin(check: &Check<'_>, field: Option<&At<file::Admin>>) -> Option<Admin> {
    let Some(at) = field else {
        let (allow, hosts, tokens) = (Vec::new(), Vec::new(), Vec::new());
        return Some(Admin { listen: default_listen(), allow, hosts, tls: None, tokens });
    };
    let admin = at.value.as_ref()?;
    let listen = match &admin.listen {
        None => Some(default_listen()),
        Some(listen) => check.parse(listen, |text| bind(check, text)),
    };
    let right = "name a network that may connect, or remove the key to let all";
    let allow = check.list(&admin.allow, right, |at| check.parse(at, text::network));
    let hosts = check.list(&admin.hosts, "name a host, or remove the key", |at| check.parse(at, text::host));
    let tls = admin.tls.as_ref().map_or(Some(None), |at| tls(check, at).map(Some));
    let tokens = tokens(check, admin);
    guarded(check, admin, listen.as_ref());
    Some(Admin { listen: listen?, allow: allow?, hosts: hosts?, tls: tls?, tokens: tokens? })
}

/// Beyond loopback, everybody in reach could move traffic: that takes credentials.
fn guarded(check: &Check<'_>, admin: &file::Admin, listen: Option<&Bind>) {
    let (Some(Bind::Tcp(address)), Some(at)) = (listen, &admin.listen) else { return };
    let asks_certificate =
        admin.tls.as_ref().is_some_and(|tls| tls.value.as_ref().is_none_or(|tls| tls.client_ca.is_some()));
    if !address.ip().to_canonical().is_loopback() && admin.tokens.is_none() && !asks_certificate {
        let right = "add `tokens` or `tls.client_ca`, or listen on 127.0.0.1";
        let message = format!("{address} is beyond loopback and asks for no credentials; {right}");
        check.faults.add(at.place, message);
    }
}

fn tls(check: &Check<'_>, at: &At<file::AdminTls>) -> Option<Tls> {
    let tls = at.value.as_ref()?;
    let pair = files::pair(check, at.place, &tls.cert, &tls.key);
    let client_ca = files::authority(check, &tls.client_ca);
    Some(Tls { certificates: vec![pair?], client_ca: client_ca? })
}

fn tokens(check: &Check<'_>, admin: &file::Admin) -> Option<Vec<Token>> {
    let tokens = check.list(&admin.tokens, "add a token, or remove the key", |at| {
        Some((at.place, token(check, at.place, at.value.as_ref()?)?))
    })?;
    all(tokens.iter().enumerate().map(|(i, (place, token))| {
        if tokens[..i].iter().any(|(_, t)| t.name == token.name) {
            return check.add(*place, format!("there is already a token called `{}`; choose another name", token.name));
        }
        if tokens[..i].iter().any(|(_, t)| t.sha256 == token.sha256) {
            return check.add(*place, "another entry has the same token; make one for each");
        }
        Some(token.clone())
    }))
}

fn token(check: &Check<'_>, place: Place, token: &file::Token) -> Option<Token> {
    let name =
        check.need(place, "name", "a name for the audit log", &token.name).and_then(|at| check.parse(at, token_name));
    let role = check.need(place, "role", "viewer, monitor, operator or admin", &token.role).and_then(|at| at.value);
    let sha256 = digest(check, place, token);
    let role = match role? {
        file::Role::Viewer => Role::Viewer,
        file::Role::Monitor => Role::Monitor,
        file::Role::Operator => Role::Operator,
        file::Role::Admin => Role::Admin,
    };
    Some(Token { name: name?, role, sha256: sha256? })
}

fn token_name(name: &str) -> Result<String, String> {
    if RESERVED.contains(&name) {
        return Err(format!("`{name}` is a name that pointsman uses itself in the audit log; choose another name"));
    }
    text::name(crate::model::names::ServiceName::new)(name).map(|name| name.to_string())
}

fn digest(check: &Check<'_>, place: Place, token: &file::Token) -> Option<[u8; 32]> {
    match (&token.env, &token.file, &token.sha256) {
        (Some(env), None, None) => check.parse(env, |name| match (check.env)(name) {
            Some(secret) if !secret.trim().is_empty() => Ok(sha256(secret.trim().as_bytes())),
            Some(_) => Err(format!("the environment variable {} is empty; put the token in it", text::tick(name))),
            None => Err(format!("the environment variable {} is not set; put the token in it", text::tick(name))),
        }),
        (None, Some(file), None) => {
            let (_, bytes) = files::content(check, file, "a file with the token in it")?;
            match bytes.trim_ascii() {
                [] => check.add(file.place, "the file is empty; put the token in it"),
                secret => Some(sha256(secret)),
            }
        }
        (None, None, Some(hex)) => check.parse(hex, |text| {
            unhex(text).ok_or_else(|| {
                "this is no SHA-256; write 64 hexadecimal digits, as `printf %s TOKEN | sha256sum` prints".to_owned()
            })
        }),
        (None, None, None) => check.add(place, "the token itself is missing; add one of env, file, sha256"),
        _ => check.add(place, "the token is given more than once; keep one of env, file, sha256"),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let bytes: Vec<u8> = digits?.chunks(2).filter_map(|pair| Some(pair[0] << 4 | *pair.get(1)?)).collect();
    (text.len() == 64).then_some(bytes)?.try_into().ok()
}

/// Where the state is kept.
pub(super) fn state(check: &Check<'_>, field: Option<&At<file::State>>) -> Option<State> {
    let default = || Some(State { path: check.path("state/pointsman.db") });
    let Some(at) = field else { return default() };
    let path: &Maybe<String> = &at.value.as_ref()?.path;
    let Some(path) = path else { return default() };
    check.parse(path, |text| match text {
        "" => Err("the path is empty; name a file, it is created when missing".to_owned()),
        text if text.ends_with('/') => Err(format!("{text:?} is a folder; name a file in it")),
        text => Ok(State { path: check.path(text) }),
    })
}
