//! Drift: what differs between the file on disk and what is running, and why.

use super::running::Running;
use super::source::Loaded;
use super::view::Drift;
use super::{compile, difference};
use crate::model::adoption::FileService;
use crate::store::{Store, StoreError};

/// Kinds of events that change a split.
const MOVERS: [&str; 3] = ["split", "switch", "rollback"];

/// What differs; splits first, then the rest in the order of the file.
pub(super) fn drift(running: &Running, loaded: &Loaded) -> Vec<Drift> {
    let files = compile::file_services(&loaded.spec);
    let mut all: Vec<_> = files.iter().filter_map(|file| split(running, file)).collect();
    let not_reloaded = difference::reloadable(&running.spec, &loaded.spec).into_iter();
    let not_restarted = difference::needs_restart(&running.spec, &loaded.spec).into_iter();
    let line = |why: &'static str| {
        move |d: difference::Difference| Drift { what: d.what, file: d.new, running: d.old, why: why.to_owned() }
    };
    all.extend(not_reloaded.map(line("the file was changed and not reloaded")));
    all.extend(not_restarted.map(line("the file was changed; this takes effect with a restart")));
    all
}

fn split(running: &Running, file: &FileService) -> Option<Drift> {
    let state = running.desired.services.get(file.name.as_str())?;
    if state.split.same_traffic(&file.split) {
        return None;
    }
    let edited = !state.file_split.same_traffic(&file.split);
    let why = if edited { "the file was changed and not reloaded" } else { "" };
    Some(Drift {
        what: format!("services.{}.split", file.name),
        file: file.split.to_string(),
        running: state.split.to_string(),
        why: why.to_owned(),
    })
}

/// The same, where a split that was changed at run time says by whom.
pub(super) fn with_history(drift: Vec<Drift>, store: &mut dyn Store) -> Result<Vec<Drift>, StoreError> {
    let told = |mut line: Drift| {
        let service = line.what.strip_prefix("services.").and_then(|w| w.strip_suffix(".split"));
        if let Some(service) = service.filter(|_| line.why.is_empty()) {
            line.why = match store.last_event(service, &MOVERS)? {
                Some(event) => {
                    format!("changed at run time by {} ({}) at {}", event.line.actor, event.line.kind, event.line.at)
                }
                None => "changed at run time".to_owned(),
            };
        }
        Ok(line)
    };
    drift.into_iter().map(told).collect()
}
