//! The house keeps its shape: imports only go down, files and functions stay small, names come from the lexicon.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use source::{Source, root, sources};

/// The floor of each module of the crate. `main` stands above all.
const FLOORS: &[(&str, u8)] = &[
    ("model", 0),
    ("config", 1),
    ("routing", 1),
    ("store", 1),
    ("telemetry", 1),
    ("control", 2),
    ("proxy", 2),
    ("admin", 3),
    ("dashboard", 3),
    ("cli", 4),
    ("demo", 4),
    ("app", 5),
    ("lib", 6),
    ("main", 6),
];

/// Neighbours on a floor that know nothing of each other.
const STRANGERS: &[(&str, &str)] = &[("proxy", "control")];

/// What is allowed beside hidden entries and those that are made by running things.
const TOP_LEVEL: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "certs",
    "clippy.toml",
    "config",
    "deny.toml",
    "rustfmt.toml",
    "src",
    "state",
    "target",
    "tests",
];

const MAX_FILE: usize = 400;
const MAX_FUNCTION: usize = 60;

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// Every import among the crate's modules: (from, to, the whole path, where).
fn imports() -> Vec<(String, String, String, String)> {
    let all = sources("src");
    assert!(all.len() >= 20, "looked at {} files only", all.len());
    let found = all.iter().flat_map(|source| {
        let from = source.module();
        source.crate_paths().into_iter().map(move |(path, line)| {
            let to = path.split("::").next().unwrap_or_default().to_owned();
            (from.clone(), to, path, format!("{}:{line}", source.path))
        })
    });
    let found: Vec<_> = found.filter(|(from, to, ..)| from != to).collect();
    assert!(found.len() >= 20, "saw {} imports only", found.len());
    found
}

#[test]
fn imports_only_go_down() {
    let mut wrong = Vec::new();
    let mut sideways = BTreeSet::new();
    for (from, to, path, at) in imports() {
        let (Some(high), Some(low)) = (floor(&from), floor(&to)) else {
            wrong.push(format!("{at}: {from} or {to} has no floor; give it one in tests/architecture.rs and lib.rs"));
            continue;
        };
        if high < low {
            wrong.push(format!("{at}: {from} (floor {high}) imports {path} (floor {low})"));
        }
        if high == low {
            if sideways.contains(&(to.clone(), from.clone())) {
                wrong.push(format!("{at}: {from} and {to} import each other"));
            }
            sideways.insert((from.clone(), to.clone()));
        }
        if STRANGERS.iter().any(|&(a, b)| (a, b) == (&from, &to) || (b, a) == (&from, &to)) {
            wrong.push(format!("{at}: {from} must know nothing of {to}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_planes_meet_only_where_they_should() {
    let mut wrong = Vec::new();
    for (from, to, path, at) in imports() {
        let part = path.split("::").nth(1).unwrap_or_default();
        if from == "admin" && to == "control" && !["handle", "command", "view"].contains(&part) {
            wrong.push(format!("{at}: admin holds only control's handle, commands and views, not {path}"));
        }
        if from == "admin" && ["store", "proxy"].contains(&to.as_str()) {
            wrong.push(format!("{at}: admin asks the controller, not {path}"));
        }
        if from == "proxy" && ["store", "admin"].contains(&to.as_str()) {
            wrong.push(format!("{at}: the data plane waits for nobody: {path}"));
        }
    }
    for source in sources("src/proxy") {
        if let Some(line) = source.line_of("Publisher") {
            wrong.push(format!("{}:{line}: the data plane only reads tables", source.path));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_model_knows_no_sockets_clocks_or_dice() {
    let banned =
        Regex::new(r"\b(tokio|hyper|Instant|SystemTime|fastrand|rand|getrandom|Timestamp::now|Zoned|thread|tracing)\b")
            .unwrap();
    let model = sources("src/model");
    assert!(model.len() >= 5, "looked at {} files only", model.len());
    let found: Vec<_> = model.iter().flat_map(|source| source.finds(&banned)).collect();
    assert!(found.is_empty(), "time and randomness are arguments:\n{}", found.join("\n"));
}

#[test]
fn files_say_what_they_own_and_stay_small() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        if !source.text.starts_with("//! ") {
            wrong.push(format!("{}: does not begin with //! and what it owns", source.path));
        }
        let lines = source.body.lines().count();
        if lines > MAX_FILE && source.path.starts_with("src/") {
            wrong.push(format!("{}: {lines} lines without its tests, more than {MAX_FILE}", source.path));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn functions_stay_small() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for source in sources("src") {
        for (name, line, lines) in source.functions() {
            seen += 1;
            if lines > MAX_FUNCTION {
                wrong.push(format!("{}:{line}: {name} has {lines} lines, more than {MAX_FUNCTION}", source.path));
            }
        }
    }
    assert!(seen > 100, "saw {seen} functions only");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn names_come_from_the_lexicon() {
    let declared = Regex::new(r"\b(?:fn|struct|enum|trait|mod|type|const|static)\s+([A-Za-z_]\w*)").unwrap();
    let word = Regex::new(r"[A-Z]?[a-z0-9]+|[A-Z]+").unwrap();
    let banned = ["manager", "helper", "helpers", "util", "utils", "data", "info", "misc", "common"];
    // `Body::Data` is named by the http-body crate.
    let given = ["Data"];
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for source in sources("src") {
        for name in declared.captures_iter(&source.code).map(|c| c[1].to_owned()) {
            seen += 1;
            let mut words = word.find_iter(&name).map(|w| w.as_str().to_lowercase());
            let bad = words.any(|w| banned.contains(&w.as_str())) || name.starts_with("handle_");
            if bad && !given.contains(&name.as_str()) {
                wrong.push(format!("{}: {name}", source.path));
            }
        }
        let file = Path::new(&source.path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if banned.contains(&file.as_str()) {
            wrong.push(source.path.clone());
        }
    }
    assert!(seen > 200, "saw {seen} declarations only");
    assert!(wrong.is_empty(), "names that say nothing:\n{}", wrong.join("\n"));
}

#[test]
fn the_top_level_holds_only_what_belongs_there() {
    let entries = std::fs::read_dir(root()).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    let (known, strange): (Vec<_>, Vec<_>) =
        entries.filter(|name| !name.starts_with('.')).partition(|name| TOP_LEVEL.contains(&name.as_str()));
    assert!(known.len() >= 8, "{known:?}");
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn every_test_file_is_part_of_a_test_binary() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let main = std::fs::read_to_string(root().join("tests/main.rs")).unwrap();
    let mut seen = 0;
    for source in sources("tests").iter().filter(|s| s.path.matches('/').count() == 1) {
        let name = Path::new(&source.path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let declared = Regex::new(&format!(r"(?m)^mod {name};")).unwrap();
        let own = manifest.contains(&format!("path = \"{}\"", source.path));
        assert!(own || declared.is_match(&main), "{} runs nowhere: add `mod {name};` to tests/main.rs", source.path);
        seen += 1;
    }
    assert!(seen >= 4, "saw {seen} files only");
}

#[test]
fn the_checks_see_what_they_look_for() {
    let text = "//! X.\nuse crate::{proxy, model::split::Split};\nuse super::super::control::handle;\n\
        fn a() { crate::app::run(\"crate::store\"); } // crate::telemetry\nfn b() {\n}\n\
        #[cfg(test)]\nmod tests {\n    use crate::admin;\n}\n";
    let source = Source::new("src/routing/table.rs", text);
    let paths: BTreeMap<_, _> = source.crate_paths().into_iter().collect();
    let seen: Vec<_> = paths.keys().map(String::as_str).collect();
    assert_eq!(seen, ["app::run", "control::handle", "model::split::Split", "proxy"]);
    let functions: Vec<_> = source.functions().into_iter().map(|(name, _, lines)| (name, lines)).collect();
    assert_eq!(functions, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    assert_eq!((source.module().as_str(), Source::new("src/model/mod.rs", "").module().as_str()), ("routing", "model"));
    let outside = "#[cfg(test)]\nmod tests;\n#[cfg(test)]\n#[path = \"b_tests.rs\"]\npub(crate) mod more;\nmod real;";
    assert_eq!(Source::new("src/a/b.rs", outside).test_modules(), ["src/a/b/tests", "src/a/b_tests"]);
    let above = Source::new("src/model/mod.rs", "use super::proxy::pool;").crate_paths();
    assert_eq!(above[0].0, "proxy::pool", "`super` leads out of a module's root, too");
}
