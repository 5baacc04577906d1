//! What the README promises is tested: every guarantee names tests that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Names of functions that follow a `#[test]` of some kind.
fn test_names() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    rust_files(&root.join("tests"), &mut files);
    let test = Regex::new(r"#\[(?:tokio::)?test[^\n]*\n(?:\s*#\[[^\n]*\n)*\s*(?:async )?fn (\w+)").unwrap();
    let texts = files.iter().map(|f| std::fs::read_to_string(f).unwrap());
    texts.flat_map(|t| test.captures_iter(&t).map(|c| c[1].to_owned()).collect::<Vec<_>>()).collect()
}

#[test]
fn every_guarantee_in_the_readme_names_tests_that_exist() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, rest) = readme.split_once("## What it guarantees").unwrap();
    let (section, _) = rest.split_once("\n## ").unwrap();
    let guarantees = Regex::new(r"(?m)^\d+\. ").unwrap();
    let named = Regex::new(r"`([a-z0-9_]{20,})`").unwrap();
    let tests = test_names();
    let mut checked = 0;
    for guarantee in guarantees.split(section).skip(1) {
        let names: Vec<_> = named.captures_iter(guarantee).map(|c| c[1].to_owned()).collect();
        assert!(!names.is_empty(), "this names no test: {guarantee}");
        for name in names {
            assert!(tests.contains(&name), "there is no test {name}");
            checked += 1;
        }
    }
    assert!(checked >= 20, "only {checked} tests were looked for");
}
