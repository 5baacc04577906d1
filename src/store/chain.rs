//! The hash chain over the audit log.
//!
//! Each line's hash covers the hash of the line before and every field of its own, each with its length in front, so
//! that no two different lines have the same bytes. Whoever changes, removes or inserts a line has to rewrite all
//! that follow.

use aws_lc_rs::digest::{Context, SHA256};

/// SHA-256 of a line.
pub(super) type Hash = [u8; 32];

/// What the first line follows.
pub(super) const GENESIS: Hash = [0; 32];

/// A line as it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) id: u64,
    pub(super) at: &'a str,
    pub(super) actor: &'a str,
    pub(super) kind: &'a str,
    pub(super) service: Option<&'a str>,
    pub(super) detail: &'a str,
}

impl Line<'_> {
    /// The hash of this line behind the one with the hash `before`.
    pub(super) fn hash(&self, before: &Hash) -> Hash {
        let mut context = Context::new(&SHA256);
        context.update(before);
        context.update(&self.id.to_le_bytes());
        context.update(&[u8::from(self.service.is_some())]);
        for field in [self.at, self.actor, self.kind, self.service.unwrap_or_default(), self.detail] {
            context.update(&(field.len() as u64).to_le_bytes());
            context.update(field.as_bytes());
        }
        let mut hash = GENESIS;
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line<'_> =
        Line { id: 1, at: "now", actor: "ops", kind: "switch", service: Some("shop"), detail: r#"{"to":"green"}"# };

    #[test]
    fn every_field_and_the_line_before_count() {
        let hash = LINE.hash(&GENESIS);
        assert_eq!(hash, LINE.hash(&GENESIS));
        for other in [
            Line { id: 2, ..LINE },
            Line { at: "then", ..LINE },
            Line { actor: "op", kind: "sswitch", ..LINE },
            Line { service: None, ..LINE },
            Line { service: Some(""), ..LINE },
            Line { detail: "{}", ..LINE },
        ] {
            assert_ne!(hash, other.hash(&GENESIS), "{other:?}");
        }
        assert_ne!(hash, LINE.hash(&[1; 32]));
        assert_ne!(Line { service: None, ..LINE }.hash(&GENESIS), Line { service: Some(""), ..LINE }.hash(&GENESIS));
    }
}
