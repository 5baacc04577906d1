//! The configuration file, as the control plane reads it again and again.

use std::path::{Path, PathBuf};

use crate::config;
use crate::control::source::{Loaded, Source};
use crate::model::names::ServiceName;
use crate::model::split::Split;

/// A configuration file and the process's environment.
#[derive(Clone, Debug)]
pub(super) struct FileSource {
    path: PathBuf,
}

impl FileSource {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Reads and checks the file; every mistake is in the error.
    pub(super) fn read(&self) -> Result<Loaded, config::ConfigError> {
        let env = |name: &str| std::env::var(name).ok();
        let config::Loaded { spec, text, mut files } = config::load(&self.path, &env)?;
        files.push(self.path.clone());
        Ok(Loaded { spec, text, files })
    }
}

impl Source for FileSource {
    fn load(&self) -> Result<Loaded, Vec<String>> {
        self.read().map_err(|error| error.problems.iter().map(ToString::to_string).collect())
    }

    fn export(&self, text: &str, splits: &[(ServiceName, Split)]) -> String {
        config::export(text, splits)
    }
}
