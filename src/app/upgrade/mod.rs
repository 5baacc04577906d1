//! Upgrades: one process starts another, hands it the listening sockets and the state, and leaves.
//!
//! The old process ([`old`]) and the new one ([`new`]) talk over a socket pair, whose other end is the new one's
//! standard input: lines of JSON ([`line`]), with descriptors beside them. What can fail without the state is done
//! first; then the state changes hands; the old one stops accepting when the new one serves. Until then every failure
//! leaves the old one as it was.
//!
//! ```text
//! old: hello, socket…, no_more_sockets      new: (reads its file, binds) prepared
//! old: (closes the store) yours             new: (opens the store, asks for health, accepts) ready
//! old: go (and leaves)                      new: (answers on the admin port) state…
//! ```

mod line;
mod new;
mod old;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::control::handover::{Followed, State};
use crate::model::cohort::Salt;
use crate::model::names::{GroupName, ServiceName};
use crate::model::split::{Share, Split};
use crate::store::drains;

pub(super) use new::Heir;
pub(super) use old::{Attempt, Failure, Named, Successor};

/// Says to a new process that its standard input leads to the old one.
const VARIABLE: &str = "POINTSMAN_HANDOVER";
/// The value of [`VARIABLE`].
const STDIN: &str = "stdin";

/// The version of what is said. Another one is refused.
const PROTOCOL: u32 = 1;

/// From the start of the new process until it has read, bound and loaded everything.
const PREPARED_WITHIN: Duration = Duration::from_secs(10);
/// Until the old process has written and closed its state.
const YOURS_WITHIN: Duration = Duration::from_secs(30);
/// Until the new process has opened the state, asked for everybody's health and accepts.
const READY_WITHIN: Duration = Duration::from_secs(75);
/// What a new process that has accepted connections and must not take over after all may take to finish them.
pub(super) const FINISHING: Duration = Duration::from_secs(10);
/// What one side may take to say what it has to say.
const SAYING: Duration = Duration::from_secs(5);

/// What runs here, for whoever takes over. Found out at the start: by an upgrade, files may have been replaced.
#[derive(Clone, Debug)]
pub(super) struct Program {
    binary: PathBuf,
    config: PathBuf,
}

impl Program {
    /// This program, with this file.
    pub(super) fn here(config: &Path) -> Self {
        // As it was called, where that is a path: a link to the version of the day should be followed again.
        let called = std::env::args_os().next().map(PathBuf::from).filter(|path| path.components().count() > 1);
        let called = called.and_then(|path| std::path::absolute(path).ok());
        let binary = called.or_else(|| std::env::current_exe().ok()).unwrap_or_else(|| "pointsman".into());
        Self { binary, config: config.to_owned() }
    }
}

/// What the old process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FromOld {
    Hello(Hello),
    /// Descriptors come with it.
    Socket(Passed),
    NoMoreSockets,
    /// The state is closed.
    Yours,
    /// The new process is the one that counts.
    Go,
}

/// Who is upgraded, and by whom.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    protocol: u32,
    pid: u32,
    version: String,
    actor: String,
    reason: Option<String>,
}

/// Sockets of one listener.
#[derive(Debug, Serialize, Deserialize)]
struct Passed {
    name: String,
    /// Whether the file of a unix socket is removed by whoever has it last.
    ours: bool,
}

/// What the new process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FromNew {
    Prepared {
        protocol: u32,
        version: String,
        /// Where the sockets listen that it goes on with.
        taken: Vec<String>,
    },
    Ready,
    /// It cannot, and ends.
    Failed {
        errors: Vec<String>,
    },
    /// What it has published.
    State(Value),
}

/// `{"version":12,"services":{"shop":{"split":{…},"stable":{…},"salt":"5f…","drains":"[…]"}}}`.
fn told(state: &State) -> Value {
    let shares = |split: &Split| -> Map<String, Value> {
        split.iter().map(|(group, share)| (group.to_string(), json!(share.ppm()))).collect()
    };
    let of = |service: &Followed| {
        let Followed { name, split, stable, salt, drains } = service;
        let (drains, salt) = (drains::text(drains), salt.map(|Salt(key)| format!("{key:x}")));
        (name.to_string(), json!({ "split": shares(split), "stable": shares(stable), "salt": salt, "drains": drains }))
    };
    let services: Map<_, _> = state.services.iter().map(of).collect();
    json!({ "version": state.version, "services": services })
}

/// None where it makes no sense.
fn understood(told: &Value) -> Option<State> {
    let split = |value: &Value| {
        let share = |(group, ppm): (&String, &Value)| {
            let percent = ppm.as_u64()? as f64 / 10_000.0;
            Some((GroupName::new(group).ok()?, Share::from_percent(percent).ok()?))
        };
        Split::new(value.as_object()?.iter().map(share).collect::<Option<Vec<_>>>()?).ok()
    };
    let service = |(name, of): (&String, &Value)| {
        let drains = drains::read(of.get("drains")?.as_str()?).ok()?;
        let (split, stable) = (split(of.get("split")?)?, split(of.get("stable")?)?);
        let salt = of.get("salt").and_then(Value::as_str).and_then(|hex| u128::from_str_radix(hex, 16).ok()).map(Salt);
        Some(Followed { name: ServiceName::new(name).ok()?, split, stable, salt, drains })
    };
    let services = told.get("services")?.as_object()?.iter().map(service).collect::<Option<Vec<_>>>()?;
    Some(State { version: told.get("version")?.as_u64()?, services })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::drain::{Drain, Drains, Part};

    #[test]
    fn a_state_that_was_told_is_understood_to_the_last_digit() {
        let group = |name: &str| GroupName::new(name).unwrap();
        let part = |percent| Share::from_percent(percent).unwrap();
        let split = Split::new([(group("blue"), part(66.6667)), (group("green"), part(33.3333))]).unwrap();
        let stable = Split::all_to(&group("blue"), [group("green")]);
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let drain = Drain { began: at(7), deadline: at(37), end: None, last: None };
        let drains = Drains::from([(Part { group: group("blue"), upstream: None }, drain)]);
        let shop =
            Followed { name: ServiceName::new("shop").unwrap(), split, stable, salt: Some(Salt(u128::MAX)), drains };
        let state = State { version: 12, services: vec![shop] };
        assert_eq!(understood(&told(&state)), Some(state));
        for wrong in [json!({}), json!({ "version": 1, "services": { "shop": { "split": {}, "stable": {} } } })] {
            assert_eq!(understood(&wrong), None, "{wrong}");
        }
    }
}
