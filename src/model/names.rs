//! Names that users give to services, groups and listeners.
//!
//! A name that exists is a valid one: it fits a URL path segment, a metric label and a header value without quoting.

use std::fmt;
use std::sync::Arc;

/// Longest accepted name, in bytes.
pub const MAX_LENGTH: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name; use 1 to {MAX_LENGTH} of a-z A-Z 0-9 . _ -, beginning with a letter or digit")]
pub struct InvalidName(pub String);

fn is_name(text: &str) -> bool {
    text.len() <= MAX_LENGTH
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and takes over `text`.
            ///
            /// # Errors
            /// [`InvalidName`] when a character or the length does not fit.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                if is_name(text) { Ok(Self(text.into())) } else { Err(InvalidName(text.to_owned())) }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// What users call: the name of a service.
    ServiceName
);
name!(
    /// A version of a service: `blue`, `green`, `canary`.
    GroupName
);
name!(
    /// A port that clients connect to.
    ListenerName
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_made_of_unreserved_characters() {
        for good in ["blue", "a", "0", "shop.api-v2_x", &"x".repeat(MAX_LENGTH)] {
            assert_eq!(ServiceName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".a", "a b", "ä", "a/b", "a\"b", &"x".repeat(MAX_LENGTH + 1)] {
            assert_eq!(GroupName::new(bad), Err(InvalidName(bad.to_owned())));
        }
    }
}
