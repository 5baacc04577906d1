//! Floor 1: from a YAML file to a checked specification.
//!
//! `file` mirrors what users write, `validate` reports everything that is wrong with it, `spec` is what is left.
//! [`load`] and [`parse`] are the way in. A configuration with anything wrong is refused as a whole, and the error
//! names every mistake with its place.

pub mod calendar;
#[cfg(test)]
mod examples;
mod export;
mod file;
#[cfg(test)]
mod mistakes;
mod near;
mod overrides;
mod problem;
pub mod spec;
mod validate;
mod yaml;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

pub use export::export;
pub use overrides::plan;
pub use problem::{ConfigError, Place, Problem};

use problem::Faults;
use spec::Spec;

/// A configuration that can be put to work.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub spec: Spec,
    /// The text of the file, as written; secrets in it are still `${NAME}`.
    pub text: String,
    /// Further files that it refers to and that are worth watching: certificates, keys, authorities, tokens. Sorted.
    pub files: Vec<PathBuf>,
}

/// Reads and checks the file at `path`; `env` gives the values of environment variables.
///
/// # Errors
/// Everything that is wrong with it, sorted by place.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, ConfigError> {
    let bytes = std::fs::read(path)
        .map_err(|e| ConfigError::of_file(path, format!("cannot be read ({e}); name a configuration file")))?;
    match String::from_utf8(bytes) {
        Ok(text) => parse(text, path, env),
        Err(error) => Err(not_utf8(error.as_bytes(), error.utf8_error().valid_up_to(), path)),
    }
}

/// Checks `text` as if it stood in the file at `path`, which need not exist. Files that it refers to are looked at.
///
/// # Errors
/// Everything that is wrong with it, sorted by place.
pub fn parse(
    text: impl Into<String>,
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, ConfigError> {
    let text = text.into();
    let faults = Faults::default();
    let checked = check(&text, path, env, &faults);
    match checked {
        Some((spec, files)) if faults.is_empty() => Ok(Loaded { spec, text, files }),
        _ if faults.is_empty() => {
            Err(ConfigError::of_file(path, "something is wrong that has no name; please report it".to_owned()))
        }
        _ => Err(faults.into_error(path)),
    }
}

fn check(
    text: &str,
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    faults: &Faults,
) -> Option<(Spec, Vec<PathBuf>)> {
    let mut root = match yaml::compose(text) {
        Ok(root) => root,
        Err(fault) => {
            faults.add(fault.place, fault.message);
            return None;
        }
    };
    yaml::resolve(&mut root, env, faults);
    let file: file::File = yaml::read(&root, faults)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let check = validate::Check { folder, env, faults, files: RefCell::default() };
    let spec = validate::spec(&file, &check)?;
    Some((spec, validate::sorted(check.files.into_inner())))
}

/// The JSON Schema of the file, for editors.
///
/// # Panics
/// Never: a schema is made of JSON.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(file::File).to_value()
}

fn not_utf8(bytes: &[u8], valid: usize, path: &Path) -> ConfigError {
    let before = String::from_utf8_lossy(&bytes[..valid]);
    let line = before.matches('\n').count() + 1;
    let col = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let faults = Faults::default();
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let place = Place { line: number(line), col: number(col) };
    faults.add(place, "this is not UTF-8; save the file as UTF-8");
    faults.into_error(path)
}
