//! Where a URL leads, taken apart: what may be shown of it, and what may not.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};

use super::Trouble;
use crate::model::matching::decoded;

/// Where a request goes.
pub(super) struct Place {
    pub(super) secure: bool,
    /// A name, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Host and port as the URL has them.
    pub(super) authority: HeaderValue,
    /// Path and query.
    pub(super) path: String,
    /// Of the user in the URL.
    pub(super) credentials: Option<HeaderValue>,
}

impl Place {
    /// For people: without path, query and user, which may be secrets.
    pub(super) fn shown(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Place {
    type Err = Trouble;

    fn from_str(url: &str) -> Result<Self, Trouble> {
        let uri: Uri = url.parse().map_err(|_| Trouble::BadUrl("it cannot be read"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(Trouble::BadUrl("it begins neither with http:// nor with https://")),
        };
        let authority = uri.authority().ok_or(Trouble::BadUrl("it names no host"))?;
        let (user, bare) = match authority.as_str().rsplit_once('@') {
            Some((user, bare)) => (Some(user), bare),
            None => (None, authority.as_str()),
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(Trouble::BadUrl("it names no host"));
        }
        Ok(Self {
            secure,
            host,
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            authority: HeaderValue::from_str(bare).map_err(|_| Trouble::BadUrl("its host cannot be sent"))?,
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            credentials: user.map(basic).transpose()?,
        })
    }
}

/// RFC 7617; what is escaped in the URL is not in the credentials.
fn basic(user: &str) -> Result<HeaderValue, Trouble> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    // A plus stands for itself here.
    let plain = |text: &str| decoded(&text.replace('+', "%2B")).into_owned();
    let both = format!("{}:{}", plain(name), plain(password));
    let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(both)));
    let mut value = value.map_err(|_| Trouble::BadUrl("its user cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Place {
        url.parse().unwrap_or_else(|trouble| panic!("{url}: {trouble}"))
    }

    #[test]
    fn a_url_is_taken_apart_and_what_is_secret_is_not_shown() {
        for (url, secure, host, port, authority, path) in [
            ("http://hooks.test", false, "hooks.test", 80, "hooks.test", "/"),
            ("https://hooks.test/T0/B0?x=1", true, "hooks.test", 443, "hooks.test", "/T0/B0?x=1"),
            ("http://ops:secret@10.0.0.1:9200/hook", false, "10.0.0.1", 9200, "10.0.0.1:9200", "/hook"),
            ("http://[::1]:9200/hook#top", false, "::1", 9200, "[::1]:9200", "/hook"),
        ] {
            let place = place(url);
            let parts = (place.secure, place.host.as_str(), place.port, place.authority.to_str().unwrap());
            assert_eq!((parts, place.path.as_str()), ((secure, host, port, authority), path), "{url}");
            assert!(!place.shown().contains("secret") && !place.shown().contains("hook#"), "{}", place.shown());
        }
        assert_eq!(place("http://[::1]/").shown(), "[::1]:80");
    }

    #[test]
    fn a_user_is_sent_as_basic_credentials_unescaped() {
        let sent =
            |url| place(url).credentials.map(|value| STANDARD.decode(&value.as_bytes()["Basic ".len()..]).unwrap());
        assert_eq!(sent("http://ops:a%40b+c@hooks.test/"), Some(b"ops:a@b+c".to_vec()));
        assert_eq!(sent("http://token@hooks.test/"), Some(b"token:".to_vec()));
        assert_eq!(sent("http://hooks.test/a@b"), None);
        assert!(place("http://a:b@hooks.test/").credentials.unwrap().is_sensitive());
    }

    #[test]
    fn what_leads_nowhere_is_told_without_the_url() {
        for url in
            ["", "hooks.test", "ftp://u:secret@hooks.test/", "unix:/run/secret", "http://", "http:///secret", "/secret"]
        {
            let Err(trouble) = url.parse::<Place>() else { panic!("{url}") };
            assert!(!trouble.to_string().contains("secret"), "{trouble}");
        }
    }
}
