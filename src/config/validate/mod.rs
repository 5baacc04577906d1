//! File → spec: whether names are known, files are there and values make sense. Reports everything that is wrong.
//!
//! Each function builds one part of the spec and gives none when something in it was wrong; by then it has been
//! reported, and its neighbours are looked at all the same. A name counts as known even where what it names is wrong,
//! so that one mistake is not reported at every place that refers to it.

#![allow(clippy::ref_option, reason = "a field of the file is handed on as it is: absent, wrong or there")]
#![allow(clippy::option_option, reason = "a value that may be left out can be absent (`Some(None)`) or wrong (`None`)")]

mod admin;
mod affinity;
mod check;
mod drain;
mod files;
mod freeze;
mod gates;
mod guards;
mod headers;
mod health;
mod hold;
mod limits;
mod listeners;
mod resolver;
mod rollout;
mod routes;
mod rules;
mod services;
mod shutdown;
mod telemetry;
mod text;
mod upstreams;
mod webhooks;

use std::path::PathBuf;

use super::file::File;
use super::problem::Place;
use super::spec::Spec;
pub(super) use check::Check;
pub(super) use rollout::{HOLD, LONGEST as LONGEST_STEP, plan};

/// Where the file begins: the place of what is missing from it as a whole.
const TOP: Place = Place { line: 1, col: 1 };
/// Most data-plane threads.
const MAX_WORKERS: u16 = 256;

/// The names that can be referred to; none where they are not known because their section is wrong.
struct Names<'a> {
    listeners: Option<Vec<&'a str>>,
    services: Option<Vec<&'a str>>,
}

/// The specification of `file`, and the files that it refers to; none when anything was wrong.
pub(super) fn spec(file: &File, check: &Check<'_>) -> Option<Spec> {
    let names = Names {
        listeners: file.listeners.as_ref().and_then(|l| l.value.as_ref()).map(|l| l.names().collect()),
        services: file.services.as_ref().and_then(|s| s.value.as_ref()).map(|s| s.names().collect()),
    };
    let admin = admin::admin(check, file.admin.as_ref());
    let state = admin::state(check, file.state.as_ref());
    let workers = workers(check, file);
    let shutdown = shutdown::shutdown(check, &file.shutdown);
    let resolver = resolver::resolver(check, &file.resolver);
    let listeners = listeners::listeners(check, file);
    let services = services::services(check, file);
    let routes = routes::routes(check, file, &names);
    let webhooks = webhooks::webhooks(check, file);
    let telemetry = telemetry::telemetry(check, file.telemetry.as_ref());
    listeners::distinct_addresses(check, file, admin.as_ref());
    Some(Spec {
        admin: admin?,
        state: state?,
        workers: workers?,
        shutdown: shutdown?,
        resolver: resolver?,
        listeners: listeners?,
        services: services?,
        routes: routes?,
        webhooks: webhooks?,
        telemetry: telemetry?,
    })
}

fn workers(check: &Check<'_>, file: &File) -> Option<usize> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS.into());
    let Some(workers) = &file.workers else { return Some(cores()) };
    let number = workers.value?;
    if (1..=MAX_WORKERS).contains(&number) {
        return Some(number.into());
    }
    check.add(workers.place, format!("{number} is no number of workers; write 1 to {MAX_WORKERS}"))
}

/// The files that a configuration refers to, sorted, each once.
pub(super) fn sorted(mut files: Vec<PathBuf>) -> Vec<PathBuf> {
    files.sort();
    files.dedup();
    files
}
