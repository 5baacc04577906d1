//! What the program is built from: nothing below the versions that fixed advisories, nothing unsound, one crypto
//! provider. Stands in for an advisory database, which needs a network.

use std::collections::BTreeMap;
use std::process::Command;

type Version = (u64, u64, u64);

/// At least these, wherever they occur; with what older ones have.
const FLOORS: &[(&str, Version, &str)] = &[
    ("anyhow", (1, 0, 104), "an advisory of 2026"),
    ("bytes", (1, 12, 1), "an advisory of 2026"),
    ("h2", (0, 4, 20), "RUSTSEC-2026-0258; duplicate content-length, GOAWAY on a stream"),
    ("hickory-proto", (0, 26, 3), "an advisory of 2026"),
    ("hickory-resolver", (0, 26, 3), "an advisory of 2026"),
    ("hyper", (1, 12, 0), "content-length beside transfer-encoding"),
    ("quinn-proto", (0, 11, 17), "an advisory of 2026"),
    ("rustls", (0, 23, 45), "RUSTSEC-2026-0285"),
    ("rustls-webpki", (0, 103, 13), "RUSTSEC-2026-0049, -0098, -0099, -0104"),
    ("time", (0, 3, 47), "an advisory of 2026"),
];

/// Unmaintained, unsound, or a second one of its kind.
const BANNED: &[&str] = &[
    "bincode",
    "fxhash",
    "instant",
    "libyml",
    "native-tls",
    "openssl",
    "paste",
    "proc-macro-error2",
    "rsa",
    "rustls-pemfile",
    "serde_yaml",
    "serde_yml",
    "sled",
];

fn locked() -> BTreeMap<String, Vec<Version>> {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'));
        line.unwrap_or_else(|| panic!("no {key} in {block}")).to_owned()
    };
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for block in lock.split("[[package]]").skip(1) {
        found.entry(value(block, "name")).or_default().push(version(&value(block, "version")));
    }
    found
}

fn version(text: &str) -> Version {
    let numbers = text.split(['.', '-', '+']).map_while(|part| part.parse().ok());
    let numbers: Vec<u64> = numbers.take(3).collect();
    let [major, minor, patch] = numbers[..] else { panic!("not a version: {text}") };
    (major, minor, patch)
}

#[test]
fn no_crate_is_older_than_the_fix_of_its_advisory() {
    let locked = locked();
    for must in ["hyper", "h2", "rustls", "rustls-webpki"] {
        assert!(locked.contains_key(must), "{must} is not in Cargo.lock: did the format change?");
    }
    for (name, floor, why) in FLOORS {
        let below = locked.get(*name).into_iter().flatten().find(|version| *version < floor);
        assert!(below.is_none(), "{name} {below:?} is below {floor:?}: {why}");
    }
}

#[test]
fn nothing_unmaintained_or_unsound_is_built_in() {
    let locked = locked();
    assert!(locked.len() > 100, "only {} crates in Cargo.lock", locked.len());
    for name in BANNED {
        assert!(!locked.contains_key(*name), "{name} is in Cargo.lock; see deny.toml for why it must not be");
    }
}

#[test]
fn there_is_one_crypto_provider() {
    // The lock file also lists what no feature asks for, so cargo is asked what is really built.
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    assert!(text.lines().any(|line| line.starts_with("aws-lc-rs v")), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("ring v")), "two providers make rustls panic: ring is back");
}
