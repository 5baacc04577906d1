//! Waiting for a rollout: each of its transitions as a line, and an exit code that says how it ended.

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::{path, shown};
use crate::admin::wire::{Entry, Rollout};
use crate::cli::Output;
use crate::cli::client::{CallError, Client, segment};
use crate::cli::drain::Shown;
use crate::cli::output::{say, say_json};

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(250);
/// A proxy that is started anew is waited for; longer than this, and nobody knows.
const AWAY: Duration = Duration::from_secs(120);

/// The exit code of who was interrupted (128 and the number of the signal).
pub(super) const INTERRUPTED: u8 = 130;

/// What the end of a wait means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Failed,
    RolledBack,
    /// Somebody has to agree.
    Approval,
    /// Somebody has to resume it.
    Paused,
}

impl End {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::RolledBack => 2,
            Self::Approval => 3,
            Self::Paused => 4,
        }
    }

    /// Where `rollout` has come to an end, or to where waiting leads nowhere.
    fn of(rollout: &Rollout) -> Option<Self> {
        match (rollout.state.as_str(), rollout.paused_in.as_deref()) {
            ("done", _) => Some(Self::Done),
            ("failed", _) => Some(Self::Failed),
            ("rolled_back", _) => Some(Self::RolledBack),
            ("awaiting_approval", _) | ("paused", Some("awaiting_approval")) => Some(Self::Approval),
            // For want of a verdict, after a restart, or because somebody wanted it: it does not go on by itself.
            ("paused", _) => Some(Self::Paused),
            _ => None,
        }
    }
}

/// Shows what happens to a rollout until there is nothing to wait for. Whoever interrupts that leaves it going.
/// What had happened up to `said` is known already.
pub(super) async fn follow(
    service: &str,
    id: &str,
    said: Option<Entry>,
    client: &Client,
    output: Output,
) -> anyhow::Result<ExitCode> {
    tokio::select! {
        code = until_the_end(service, id, said, client, output) => code,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            eprintln!(
                "\ninterrupted; rollout {id} goes on: look with `pointsman rollout status {service}`, \
                 end it with `pointsman rollout abort {service}`"
            );
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

async fn until_the_end(
    service: &str,
    id: &str,
    mut said: Option<Entry>,
    client: &Client,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let path = format!("{}/{}", path(service), segment(id));
    let mut progress = Shown::default();
    loop {
        let rollout: Rollout =
            patiently(&path, client).await.context("the rollout goes on without being watched from here")?;
        if output == Output::Text {
            progress.clear();
            for entry in news(&rollout, said.as_ref()) {
                say(&format!("{}\n", shown::transition(&rollout, entry)))?;
            }
        }
        said = rollout.timeline.last().cloned();
        if let Some(end) = End::of(&rollout) {
            match output {
                Output::Json => say_json(&rollout)?,
                Output::Text => say(&format!("{}\n", shown::ending(&rollout)))?,
            }
            return Ok(ExitCode::from(end.code()));
        }
        if output == Output::Text && stderr().is_terminal() {
            progress.show(&shown::under_way(&rollout));
        }
        sleep(LOOK).await;
    }
}

/// Asks again while nobody answers: a proxy may be started anew, or handed over, in the middle of a rollout.
pub(super) async fn patiently<T: DeserializeOwned>(path: &str, client: &Client) -> anyhow::Result<T> {
    let since = Instant::now();
    loop {
        let error = match client.get(path).await {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let is_final = matches!(error.downcast_ref(), Some(CallError::Refused { .. }) | None);
        if is_final || since.elapsed() > AWAY {
            return Err(error);
        }
        sleep(LOOK).await;
    }
}

/// What has happened since `said`.
fn news<'a>(rollout: &'a Rollout, said: Option<&Entry>) -> &'a [Entry] {
    let is_said = |entry: &Entry| said.is_some_and(|s| s.at == entry.at && s.state == entry.state);
    let next = rollout.timeline.iter().rposition(is_said).map_or(0, |last| last + 1);
    &rollout.timeline[next..]
}

#[cfg(test)]
mod tests {
    use super::super::shown::samples::rollout;
    use super::*;

    #[test]
    fn each_end_has_its_exit_code_and_what_goes_on_has_none() {
        for (state, paused_in, cause, code) in [
            ("done", None, "the old group was let go of", Some(0)),
            ("failed", None, "the warm-up failed", Some(1)),
            ("rolled_back", None, "guard error_rate has failed", Some(2)),
            ("paused", Some("awaiting_approval"), "nobody has agreed in time", Some(3)),
            ("paused", Some("shifting"), "the verdict is still undecided", Some(4)),
            ("paused", Some("shifting"), "pointsman was restarted", Some(4)),
            ("paused", Some("checking"), "somebody has paused it", Some(4)),
            ("awaiting_approval", None, "the candidate is healthy", Some(3)),
            ("shifting", None, "every guard has passed", None),
            ("rolling_back", None, "guard error_rate has failed", None),
        ] {
            let mut rollout = rollout();
            (rollout.state, rollout.paused_in) = (state.to_owned(), paused_in.map(str::to_owned));
            cause.clone_into(&mut rollout.timeline.last_mut().unwrap().cause);
            assert_eq!(End::of(&rollout).map(End::code), code, "{state} {paused_in:?} {cause}");
        }
    }

    #[test]
    fn each_transition_is_said_once() {
        let rollout = rollout();
        assert_eq!(news(&rollout, None).len(), 2);
        assert_eq!(news(&rollout, Some(&rollout.timeline[0])).len(), 1);
        assert_eq!(news(&rollout, Some(&rollout.timeline[1])).len(), 0);
    }
}
