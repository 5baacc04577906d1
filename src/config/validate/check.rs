//! What every check needs: where relative paths begin, the environment, and where to report.

use std::cell::RefCell;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::config::file::{List, Maybe};
use crate::config::near;
use crate::config::problem::{Faults, Place};
use crate::config::yaml::At;

/// What checks share. Lives as long as one configuration is checked.
pub(in crate::config) struct Check<'a> {
    /// The configuration file's folder.
    pub(in crate::config) folder: &'a Path,
    /// The environment.
    pub(in crate::config) env: &'a dyn Fn(&str) -> Option<String>,
    /// What was wrong so far.
    pub(in crate::config) faults: &'a Faults,
    /// Files that were referred to so far.
    pub(in crate::config) files: RefCell<Vec<PathBuf>>,
}

impl Check<'_> {
    /// Reports a fault, and is the missing value in its place.
    pub(super) fn add<T>(&self, place: Place, message: impl AsRef<str>) -> Option<T> {
        self.faults.add(place, message);
        None
    }

    /// `path` as the process sees it: relative ones begin at the configuration file's folder.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The value of a key that must be there.
    pub(super) fn need<'f, T>(&self, owner: Place, key: &str, right: &str, field: &'f Maybe<T>) -> Option<&'f At<T>> {
        let Some(at) = field else { return self.add(owner, format!("`{key}` is missing; add {right}")) };
        Some(at)
    }

    /// What `parse` makes of a text.
    pub(super) fn parse<S: Deref<Target = str>, T>(
        &self,
        at: &At<S>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(at.value.as_ref()?).map_err(|message| self.faults.add(at.place, message)).ok()
    }

    /// What `parse` makes of a text that may be left out: `Some(None)` when it is.
    pub(super) fn maybe<S: Deref<Target = str>, T>(
        &self,
        field: &Maybe<S>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match field {
            None => Some(None),
            Some(at) => self.parse(at, parse).map(Some),
        }
    }

    /// Each item of a list that may be left out. One that is there and empty is wrong: `why` says what was meant.
    pub(super) fn list<S, T>(
        &self,
        field: &List<S>,
        why: &str,
        each: impl FnMut(&At<S>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(list) = field else { return Some(Vec::new()) };
        let items = list.value.as_ref()?;
        if items.is_empty() {
            return self.add(list.place, format!("the list is empty; {why}"));
        }
        all(items.iter().map(each))
    }

    /// Reports `name` unless it is one of `known`. Where these are not known, every name passes.
    pub(super) fn known(&self, place: Place, what: &str, name: &str, known: Option<&[&str]>) -> Option<()> {
        match known {
            Some(known) if !known.contains(&name) => {
                let right = near::suggest(name, known.iter().copied());
                self.add(place, format!("there is no {what} {}; {right}", super::text::tick(name)))
            }
            _ => Some(()),
        }
    }
}

/// All of them, or none when one is missing. Unlike `collect`, it goes on after the first that is.
pub(super) fn all<T>(items: impl IntoIterator<Item = Option<T>>) -> Option<Vec<T>> {
    let items: Vec<Option<T>> = items.into_iter().collect();
    items.into_iter().collect()
}

/// The value of a key that may be left out.
pub(super) fn or<T: Copy>(field: &Maybe<T>, default: T) -> Option<T> {
    field.as_ref().map_or(Some(default), |at| at.value)
}
