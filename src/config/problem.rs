//! What is wrong with a configuration, and where.
//!
//! A [`Fault`] has a place in the text; a [`Problem`] names the file as well. Faults are gathered, never thrown one by
//! one, so that one run tells everything. Knows nothing of what the configuration means.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a text: line and column, both from 1, the column in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub col: u32,
}

/// Something wrong at a place of the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    pub(super) place: Place,
    pub(super) message: String,
}

/// Gathers faults while the text is read and checked.
#[derive(Debug, Default)]
pub(super) struct Faults(RefCell<Vec<Fault>>);

impl Faults {
    /// Takes note of a fault. Control characters and line breaks are escaped: a problem is one line.
    pub(super) fn add(&self, place: Place, message: impl AsRef<str>) {
        let message = message.as_ref().chars().flat_map(one_line).collect();
        self.0.borrow_mut().push(Fault { place, message });
    }

    /// Whether nothing was wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// The problems of `file`, sorted by place, each once.
    pub(super) fn into_error(self, file: &Path) -> ConfigError {
        let mut faults = self.0.into_inner();
        faults.sort();
        faults.dedup();
        let problem = |fault: Fault| Problem {
            file: file.to_owned(),
            line: fault.place.line,
            col: fault.place.col,
            message: fault.message,
        };
        ConfigError { problems: faults.into_iter().map(problem).collect() }
    }
}

fn one_line(c: char) -> impl Iterator<Item = char> {
    let (plain, escaped) = if c.is_control() { (None, Some(c.escape_default())) } else { (Some(c), None) };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

/// One thing that is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The configuration file.
    pub file: PathBuf,
    /// The line, from 1; 0 where the problem has no place (the file cannot be read).
    pub line: u32,
    /// The column in characters, from 1; 0 where the problem has no place.
    pub col: u32,
    /// `what is wrong; what would be right`, on one line.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match self.line {
            0 => write!(f, "{file}: {}", self.message),
            line => write!(f, "{file}:{line}:{}: {}", self.col, self.message),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of its places. Displayed one problem a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// A single problem without a place, of the file as a whole.
    pub(super) fn of_file(file: &Path, message: String) -> Self {
        Self { problems: vec![Problem { file: file.to_owned(), line: 0, col: 0, message }] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if i > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_sorted_by_place_and_each_is_one_line() {
        let faults = Faults::default();
        faults.add(Place { line: 10, col: 1 }, "later");
        faults.add(Place { line: 2, col: 7 }, "two\nlines");
        faults.add(Place { line: 2, col: 7 }, "two\nlines");
        assert_eq!(faults.into_error(Path::new("x.yaml")).to_string(), "x.yaml:2:7: two\\nlines\nx.yaml:10:1: later");
        assert_eq!(ConfigError::of_file(Path::new("y"), "gone".to_owned()).to_string(), "y: gone");
    }
}
