//! Sets of bytes that the grammars of HTTP and URIs are made of.

/// Letters, digits and `others`, as a table by byte.
pub(super) const fn alphanumeric_and(others: &[u8]) -> [bool; 256] {
    let mut set = [false; 256];
    let mut at = 0;
    while at < set.len() {
        set[at] = (at as u8).is_ascii_alphanumeric();
        at += 1;
    }
    at = 0;
    while at < others.len() {
        set[others[at] as usize] = true;
        at += 1;
    }
    set
}
