//! Where configurations come from, as the control plane sees it.

use std::path::PathBuf;

use crate::config::spec::Spec;
use crate::model::names::ServiceName;
use crate::model::split::Split;

/// A configuration that was read and found to be right.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub spec: Spec,
    /// Its text.
    pub text: String,
    /// The files that it was read from or that it names; watched for changes.
    pub files: Vec<PathBuf>,
}

/// Reads the configuration, again whenever it is asked to. May block.
pub trait Source: Send + Sync {
    /// Reads it as it is now.
    ///
    /// # Errors
    /// Everything that is wrong, each `FILE:LINE:COL: …` where it has a place.
    fn load(&self) -> Result<Loaded, Vec<String>>;

    /// `text` with these splits in the place of its own.
    fn export(&self, text: &str, splits: &[(ServiceName, Split)]) -> String;
}
