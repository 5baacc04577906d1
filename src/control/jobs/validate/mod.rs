//! Validations: whoever tests a candidate is asked, and what he has found is said to its rollout.
//!
//! How long that may take is the rollout's business, which ends this when it does not wait any more; so does a pause not.
//! After a restart it begins again: whoever tests hears of the same job, and may know it by its number.

mod asked;
mod program;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::{Failed, place};
use crate::control::command::{Origin, Rejected, Validated};
use crate::control::controller::Command;
use crate::control::events;
use crate::control::rollouts::RolloutCommand;
use crate::control::running::{Running, Shared};
use crate::model::job::{Job, Validate};
use crate::model::rollout::plan::Validator;
use crate::model::rollout::{Rollout, RolloutId};

/// What was not taken is said again after this time.
const SAID_AGAIN: Duration = Duration::from_secs(1);

/// What whoever tests is told.
#[derive(Clone, Debug)]
struct Subject {
    rollout: RolloutId,
    services: Vec<String>,
    candidate: String,
    baseline: String,
    /// Where a validation listener leads to the candidate; none: there is none.
    through: Option<String>,
    /// Where he may call back: a URL, or a path of the admin port where that is no TCP port.
    callback: String,
    job: u64,
    attempt: u32,
}

/// What was found, and why.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    found: Validated,
    why: String,
}

/// One try at a test.
pub(super) async fn validate(
    shared: &Arc<Shared>,
    commands: &mpsc::Sender<Command>,
    job: &Job,
    test: &Validate,
) -> Result<(), Failed> {
    let id = RolloutId(test.rollout);
    let (rollout, subject) = {
        let running = shared.running.load();
        let Some(rollout) = running.desired.rollouts.get(&id).filter(|rollout| rollout.wants_test()) else {
            return Ok(());
        };
        (rollout.clone(), Subject::new(&running, rollout, job))
    };
    let Some(validation) = &rollout.plan.validate else { return Ok(()) };
    let finding = match &validation.by {
        Validator::Url(url) => asked::ask(&shared.client, url, &subject, validation.timeout).await?,
        Validator::Command(words) => program::run(words, &subject, validation.timeout).await,
    };
    say(commands, id, finding).await
}

/// Says it until it is heard, or nobody wants to hear it.
async fn say(commands: &mpsc::Sender<Command>, id: RolloutId, finding: Finding) -> Result<(), Failed> {
    let Finding { found, why } = finding;
    let origin = Origin { actor: events::OURSELVES.to_owned(), reason: Some(why), ..Origin::default() };
    loop {
        let (reply, answer) = oneshot::channel();
        let said = RolloutCommand::Validated { id, found, origin: origin.clone(), reply };
        let gone = |()| Failed::Again(Rejected::ShuttingDown.to_string());
        commands.send(Command::Rollout(said)).await.map_err(|_| gone(()))?;
        match answer.await.map_err(|_| gone(()))? {
            Err(Rejected::Store(_) | Rejected::Upgrading | Rejected::ShuttingDown) => sleep(SAID_AGAIN).await,
            // It was said by somebody else meanwhile, or its rollout is over.
            Ok(_) | Err(_) => return Ok(()),
        }
    }
}

impl Subject {
    fn new(running: &Running, rollout: &Rollout, job: &Job) -> Self {
        let baseline = rollout.services.first().map(|m| m.from.live().to_string());
        let path = format!("/api/v1/rollouts/{}/validation", rollout.id);
        Self {
            rollout: rollout.id,
            services: rollout.services.iter().map(|m| m.service.to_string()).collect(),
            candidate: rollout.to.to_string(),
            baseline: baseline.unwrap_or_default(),
            through: place::validation(running),
            callback: place::admin(&running.spec.admin).unwrap_or_default() + &path,
            job: job.id,
            attempt: job.attempts,
        }
    }

    fn service(&self) -> &str {
        self.services.first().map_or("", String::as_str)
    }
}

/// What somebody has said or printed, in one line.
fn line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let plain = |line: &str| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    lines.map(plain).collect::<Vec<_>>().join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn subject() -> Subject {
        Subject {
            rollout: RolloutId(3),
            services: vec!["shop".to_owned(), "api".to_owned()],
            candidate: "green".to_owned(),
            baseline: "blue".to_owned(),
            through: Some("http://127.0.0.1:8090".to_owned()),
            callback: "http://127.0.0.1:7070/api/v1/rollouts/r3/validation".to_owned(),
            job: 17,
            attempt: 2,
        }
    }

    #[test]
    fn what_is_printed_comes_in_one_line_without_what_could_harm_a_terminal() {
        assert_eq!(line("  checkout ok \n\n cart: \u{1b}[31m3 errors\r\n"), "checkout ok / cart:  [31m3 errors");
    }
}
