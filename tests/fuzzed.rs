//! What fuzzing has been fed with and has found stays mended (`tests/fuzz`); the corpora of HTTP/1.1 are replayed next
//! to what they are about, in `src/proxy/fuzzing.rs`.

#[path = "fuzz/checks/config.rs"]
mod config;
#[path = "fuzz/checks/frames.rs"]
mod frames;
#[path = "fuzz/checks/routes.rs"]
mod routes;

use std::path::PathBuf;

/// Runs every file of these folders.
fn replay(folders: &[&str], check: fn(&[u8])) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap());
    let files: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    assert!(files.len() >= 10, "{} files only", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        if std::panic::catch_unwind(|| check(&bytes)).is_err() {
            wrong.push(file);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn any_text_is_a_configuration_or_all_that_is_wrong_with_it_has_a_place() {
    replay(&["tests/fuzz/corpus/config", "config"], config::check);
}

#[test]
fn the_route_that_is_found_is_the_one_that_the_rules_name() {
    replay(&["tests/fuzz/corpus/routes"], routes::check);
}

#[test]
fn frames_are_followed_as_a_simple_reading_of_the_bytes_would() {
    replay(&["tests/fuzz/corpus/frames"], frames::check);
}
