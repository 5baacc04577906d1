//! Rust files as text: without comments and strings, without their tests, with the paths and functions in them.
//! Rough, and enough for files that rustfmt has formatted.

use std::path::{Path, PathBuf};

use regex::Regex;

/// The project's directory.
pub(super) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file.
pub(super) struct Source {
    /// From the project's directory on.
    pub(super) path: String,
    /// All of it.
    pub(super) text: String,
    /// Without its inline tests; nothing where the whole file is tests.
    pub(super) body: String,
    /// The body, with comments, strings and characters blanked out; the lines are kept.
    pub(super) code: String,
}

/// Every Rust file below a directory.
pub(super) fn sources(under: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(under), &mut found);
    let tests: Vec<_> = found.iter().flat_map(Source::test_modules).collect();
    for source in &mut found {
        let module = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        if tests.iter().any(|test| module == test || module.starts_with(&format!("{test}/"))) {
            source.body.clear();
            source.code.clear();
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(directory: &Path, found: &mut Vec<Source>) {
    // A module that does not exist has no files.
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            found.push(Source::new(&name, &std::fs::read_to_string(&path).unwrap()));
        }
    }
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let tests = Regex::new(r"(?m)^#\[cfg\((?:all\()?test[^\n]*\]\n(?:#\[[^\n]*\]\n)*(?:pub )?mod \w+ \{").unwrap();
        let end = tests.find(text).map_or(text.len(), |found| found.start());
        let body = text[..end].to_owned();
        Self { path: path.to_owned(), text: text.to_owned(), code: blanked(&body), body }
    }

    /// The module of the crate's root that it belongs to: `proxy` for `src/proxy/pool.rs`, `app` for `src/app.rs`.
    pub(super) fn module(&self) -> String {
        let within = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        within.split('/').next().unwrap_or_default().to_owned()
    }

    /// The modules in files of their own that only tests are built with, as paths without their ending.
    pub(super) fn test_modules(&self) -> Vec<String> {
        let tests =
            Regex::new(r#"#\[cfg\(test\)\]\s*(?:#\[path = "([^"]+)\.rs"\]\s*)?(?:pub(?:\(\w+\))? )?mod (\w+);"#)
                .unwrap();
        let (folder, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let own = match file {
            "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
            other => format!("{folder}/{}", other.trim_end_matches(".rs")),
        };
        let path = |found: regex::Captures<'_>| match found.get(1) {
            // A path attribute counts from the file's folder.
            Some(path) => format!("{folder}/{}", path.as_str()),
            None => format!("{own}/{}", &found[2]),
        };
        tests.captures_iter(&self.text).map(path).collect()
    }

    /// How many `super` lead from it to the crate's root.
    fn depth(&self) -> usize {
        let within = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        within.split('/').filter(|part| !["lib", "main"].contains(part)).count()
    }

    /// The paths from the crate's root that it names, without `crate::`, and their lines.
    pub(super) fn crate_paths(&self) -> Vec<(String, usize)> {
        let path = Regex::new(r"\b(crate|(?:super::)*super)::(\{|[a-z]\w*(?:::\w+)*)").unwrap();
        let mut found = Vec::new();
        for captured in path.captures_iter(&self.code) {
            let from_root = &captured[1] == "crate" || captured[1].matches("super").count() == self.depth();
            if !from_root {
                continue;
            }
            let line = self.line_at(captured.get(0).map_or(0, |whole| whole.start()));
            if &captured[2] == "{" {
                let rest = &self.code[captured.get(2).map_or(0, |brace| brace.end())..];
                found.extend(members(rest).into_iter().map(|member| (member, line)));
            } else {
                found.push((captured[2].to_owned(), line));
            }
        }
        found
    }

    fn line_at(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }

    /// The line on which this is first named in code.
    pub(super) fn line_of(&self, name: &str) -> Option<usize> {
        self.code.find(name).map(|at| self.line_at(at))
    }

    /// Every find in code, with its place.
    pub(super) fn finds(&self, pattern: &Regex) -> Vec<String> {
        let finds = pattern.find_iter(&self.code);
        finds.map(|found| format!("{}:{}: {}", self.path, self.line_at(found.start()), found.as_str())).collect()
    }

    /// Its functions: name, line, number of lines from the signature to the closing brace.
    pub(super) fn functions(&self) -> Vec<(String, usize, usize)> {
        let function = Regex::new(r"\bfn\s+(\w+)").unwrap();
        let mut found = Vec::new();
        for captured in function.captures_iter(&self.code) {
            let start = captured.get(0).map_or(0, |whole| whole.start());
            if let Some(length) = body_end(&self.code[start..]) {
                let lines = self.code[start..start + length].matches('\n').count() + 1;
                found.push((captured[1].to_owned(), self.line_at(start), lines));
            }
        }
        found
    }
}

/// The members of a use group whose opening brace was just passed, as far as their module.
fn members(rest: &str) -> Vec<String> {
    let (mut depth, mut found, mut current) = (0, Vec::new(), String::new());
    for c in rest.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(std::mem::take(&mut current)),
            c if depth == 0 && !c.is_whitespace() => current.push(c),
            _ => {}
        }
    }
    found.push(current);
    found.iter().map(|member| member.trim_end_matches("::").to_owned()).filter(|member| !member.is_empty()).collect()
}

/// Where the body of the function that begins here ends; none where it has no body.
fn body_end(code: &str) -> Option<usize> {
    let (mut braces, mut others) = (0_i32, 0_i32);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            ';' if braces == 0 && others == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Comments, strings and character literals as spaces; line ends stay.
fn blanked(text: &str) -> String {
    let literal = Regex::new(concat!(
        r#"(?s)//[^\n]*|/\*.*?\*/"#,
        r####"|\bb?r###".*?"###|\bb?r##".*?"##|\bb?r#".*?"#|\bb?r".*?""####,
        r#"|"(?:\\.|[^"\\])*"|'(?:\\[^']*|[^'\\\n])'"#
    ))
    .unwrap();
    let blank = |found: &regex::Captures<'_>| -> String {
        found[0].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
    };
    literal.replace_all(text, blank).into_owned()
}
