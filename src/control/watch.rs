//! Notices when files change: watches their folders (editors and orchestrators replace files instead of writing into
//! them) and compares contents, so that a touch is no change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::tls::{self, Digest};

/// Changes within this time are one change.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// How often contents are compared where the system cannot tell of changes.
const POLL: Duration = Duration::from_secs(2);

/// Watches files by their folders.
pub(super) struct Files {
    watcher: Option<RecommendedWatcher>,
    /// At most one signal waits: the contents are compared anyway.
    signals: mpsc::Receiver<()>,
    folders: BTreeSet<PathBuf>,
    files: Vec<PathBuf>,
    seen: Digest,
}

impl Files {
    /// Watches `files` from now on, compared with their contents now.
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        let (signal, signals) = mpsc::channel(1);
        let told = move |event: notify::Result<notify::Event>| {
            if !event.is_ok_and(|e| e.kind.is_access()) {
                // A full queue holds a signal already.
                let _ = signal.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(told)
            .inspect_err(|e| tracing::warn!(error = %e, "files are compared every {POLL:?} instead of being watched"))
            .ok();
        let mut this = Self { watcher, signals, folders: BTreeSet::new(), files: Vec::new(), seen: Digest::default() };
        this.set(files);
        this
    }

    /// Watches these files instead; what they contain now counts as seen.
    pub(super) fn set(&mut self, files: Vec<PathBuf>) {
        let folders: BTreeSet<_> = files.iter().flat_map(|f| folders(f)).collect();
        let Some(watcher) = &mut self.watcher else {
            self.take(files);
            return;
        };
        for gone in self.folders.difference(&folders) {
            // A folder that was deleted is not watched any more by itself.
            let _ = watcher.unwatch(gone);
        }
        for new in folders.difference(&self.folders) {
            if let Err(e) = watcher.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %new.display(), error = %e, "changes there will not be noticed; use a reload");
            }
        }
        self.folders = folders;
        self.take(files);
    }

    fn take(&mut self, files: Vec<PathBuf>) {
        self.files = files;
        self.seen = digest(&self.files);
    }

    /// Resolves when the contents have changed since the last call. Safe to cancel: a change is noticed next time.
    pub(super) async fn changed(&mut self) {
        loop {
            if self.watcher.is_some() {
                if self.signals.recv().await.is_none() {
                    std::future::pending::<()>().await;
                }
                sleep(DEBOUNCE).await;
                let _ = self.signals.try_recv();
            } else {
                sleep(POLL).await;
            }
            let now = digest(&self.files);
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

/// Where changes of `file` show: its folder, and that of the file that it is a link to.
fn folders(file: &Path) -> Vec<PathBuf> {
    let real = file.canonicalize().ok();
    let parents = [Some(file), real.as_deref()].into_iter().flatten().filter_map(Path::parent);
    parents.map(|p| if p.as_os_str().is_empty() { PathBuf::from(".") } else { p.to_owned() }).collect()
}

fn digest(files: &[PathBuf]) -> Digest {
    // A file that is missing is another state than an empty one, and differs from both by the marker.
    let contents: Vec<_> = files
        .iter()
        .map(|f| {
            std::fs::read(f).map_or_else(
                |_| vec![0],
                |mut c| {
                    c.push(1);
                    c
                },
            )
        })
        .collect();
    tls::digest(contents.iter().map(Vec::as_slice))
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_file_that_is_replaced_is_noticed_and_a_touch_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.yaml");
        std::fs::write(&file, "a").unwrap();
        let mut files = Files::new(vec![file.clone()]);
        std::fs::write(&file, "a").unwrap();
        assert!(timeout(Duration::from_millis(700), files.changed()).await.is_err(), "a touch is no change");
        let next = folder.path().join("next");
        std::fs::write(&next, "b").unwrap();
        std::fs::rename(&next, &file).unwrap();
        timeout(Duration::from_secs(10), files.changed()).await.unwrap();
        std::fs::remove_file(&file).unwrap();
        timeout(Duration::from_secs(10), files.changed()).await.unwrap();
    }

    #[tokio::test]
    async fn a_link_whose_target_is_exchanged_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        for (dir, text) in [(&one, "a"), (&two, "b")] {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("c.yaml"), text).unwrap();
        }
        let link = |to: &Path| {
            let temporary = folder.path().join("tmp");
            std::os::unix::fs::symlink(to, &temporary).unwrap();
            std::fs::rename(&temporary, folder.path().join("data")).unwrap();
        };
        link(&one);
        std::os::unix::fs::symlink("data/c.yaml", folder.path().join("c.yaml")).unwrap();
        let mut files = Files::new(vec![folder.path().join("c.yaml")]);
        link(&two);
        timeout(Duration::from_secs(10), files.changed()).await.unwrap();
    }
}
