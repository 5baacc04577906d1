//! Notices when files change: watches their folders (editors and orchestrators replace files instead of writing into
//! them) and compares contents, so that a touch is no change.

use std::collections::{BTreeMap, BTreeSet};
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

/// What files contain: equal contents, equal values.
pub(super) type Contents = BTreeMap<PathBuf, Digest>;

/// Whether there are files among those to be watched that were not watched before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    Known,
    New,
}

/// Watches files by their folders.
pub(super) struct Files {
    watcher: Option<RecommendedWatcher>,
    /// At most one signal waits: the contents are compared anyway.
    signals: mpsc::Receiver<()>,
    /// A signal that was taken, but whose contents were not compared yet.
    signalled: bool,
    folders: BTreeSet<PathBuf>,
    seen: Contents,
}

impl Files {
    /// Watches `files` from now on, compared with their contents now.
    pub(super) async fn new(files: Vec<PathBuf>) -> Self {
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
        let (folders, seen) = (BTreeSet::new(), Contents::new());
        let mut this = Self { watcher, signals, signalled: false, folders, seen };
        this.set(files).await;
        this
    }

    /// Watches these files instead. What those that are new contain now counts as seen.
    pub(super) async fn set(&mut self, files: Vec<PathBuf>) -> Watched {
        self.watch_folders(files.iter().flat_map(|f| folders(f)).collect());
        let new: Vec<_> = files.iter().filter(|f| !self.seen.contains_key(*f)).cloned().collect();
        let watched = if new.is_empty() { Watched::Known } else { Watched::New };
        self.seen.extend(contents(new).await);
        self.seen.retain(|file, _| files.contains(file));
        watched
    }

    fn watch_folders(&mut self, folders: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
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
    }

    /// What the files contain now.
    pub(super) async fn now(&self) -> Contents {
        contents(self.seen.keys().cloned().collect()).await
    }

    /// These contents need no further notice.
    pub(super) fn see(&mut self, contents: Contents) {
        self.seen = contents;
    }

    /// Resolves when the contents are others than those that were seen; they count as seen then. When it is
    /// cancelled, the change is noticed by the next call.
    pub(super) async fn changed(&mut self) {
        loop {
            self.signal().await;
            let now = self.now().await;
            self.signalled = false;
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }

    async fn signal(&mut self) {
        if self.watcher.is_none() {
            return sleep(POLL).await;
        }
        if !self.signalled {
            // The watcher holds the other end.
            let _ = self.signals.recv().await;
            self.signalled = true;
        }
        sleep(DEBOUNCE).await;
        // What was signalled up to here is looked at now.
        let _ = self.signals.try_recv();
    }
}

/// Where changes of `file` show: its folder, and that of the file that it is a link to.
fn folders(file: &Path) -> Vec<PathBuf> {
    let real = file.canonicalize().ok();
    let parents = [Some(file), real.as_deref()].into_iter().flatten().filter_map(Path::parent);
    parents.map(|p| if p.as_os_str().is_empty() { PathBuf::from(".") } else { p.to_owned() }).collect()
}

async fn contents(files: Vec<PathBuf>) -> Contents {
    let digest = |file: &Path| match std::fs::read(file) {
        Ok(contents) => tls::digest([&[1][..], &contents].into_iter()),
        // A file that is missing is another thing than an empty one.
        Err(_) => tls::digest([&[0][..]].into_iter()),
    };
    let reading = move || files.into_iter().map(|file| (file.clone(), digest(&file))).collect();
    // Reading a small file does not panic; if it did, nothing would be seen and the next look would find a change.
    tokio::task::spawn_blocking(reading).await.unwrap_or_default()
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
        let mut files = Files::new(vec![file.clone()]).await;
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
        let mut files = Files::new(vec![folder.path().join("c.yaml")]).await;
        link(&two);
        timeout(Duration::from_secs(10), files.changed()).await.unwrap();
    }
}
