//! The messages in `tests/corpus`: collected because somebody reads them in two ways.

/// A message, and how it is answered.
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) status: u16,
    pub(super) bytes: Vec<u8>,
}

/// The messages of a file.
pub(super) fn samples(file: &str) -> Vec<Sample> {
    let path = format!("{}/tests/corpus/{file}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut samples: Vec<Sample> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(bytes) = line.strip_prefix("  ") {
            samples.last_mut().unwrap().bytes.extend(unescaped(bytes));
        } else {
            let (status, name) = line.split_once(' ').unwrap();
            samples.push(Sample { name: name.to_owned(), status: status.parse().unwrap(), bytes: Vec::new() });
        }
    }
    assert!(samples.len() >= 20 && samples.iter().all(|s| !s.bytes.is_empty()), "{file} is not all there");
    samples
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.bytes());
        let (byte, length) = match after.as_bytes().first() {
            Some(b'r') => (b'\r', 1),
            Some(b'n') => (b'\n', 1),
            Some(b't') => (b'\t', 1),
            Some(b'0') => (b'\0', 1),
            Some(b'\\') => (b'\\', 1),
            Some(b'x') => (u8::from_str_radix(&after[1..3], 16).unwrap(), 3),
            other => panic!("no escape: {other:?} in {text:?}"),
        };
        bytes.push(byte);
        rest = &after[length..];
    }
    bytes.extend(rest.bytes());
    bytes
}

#[test]
fn the_escapes_of_the_corpus_are_bytes() {
    assert_eq!(unescaped(r"a\r\n\t\0\\\xffb"), b"a\r\n\t\0\\\xffb");
}
