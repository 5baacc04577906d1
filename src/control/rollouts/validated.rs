//! What whoever tests a candidate has found: it is said by the job that asks him, or by himself when he calls back.

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::asked::receipt_from;
use super::change::RolloutCommand;
use crate::control::command::{Origin, Rejected, RolloutReceipt, Validated};
use crate::control::controller::{Command, Controller};
use crate::control::handle::Handle;
use crate::model::change::Desired;
use crate::model::rollout::{By, Input, RolloutId};

/// The longest text that is kept of what was found, in characters.
const LONGEST: usize = 1000;

impl Handle {
    /// Says what a test of the candidate of rollout `id` has found; `origin` says why. Returns when that is durable.
    ///
    /// # Errors
    /// [`Rejected::NoRollout`], [`Rejected::NotNow`] where nobody is to test it now, [`Rejected::Store`].
    pub async fn validated(&self, id: RolloutId, found: Validated, origin: Origin) -> Result<RolloutReceipt, Rejected> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Rollout(RolloutCommand::Validated { id, found, origin, reply })).await?;
        answer.await.map_err(|_| Rejected::ShuttingDown)?
    }
}

impl Controller {
    pub(super) async fn validated(
        &mut self,
        id: RolloutId,
        found: Validated,
        origin: &Origin,
    ) -> Result<RolloutReceipt, Rejected> {
        let fingerprint = format!("rollout.validated {id} {}", found.label());
        if let Some(receipt) = self.repeated(origin, &fingerprint).await?.as_ref().and_then(receipt_from) {
            return Ok(receipt);
        }
        let under_way = self.running.desired.rollouts.get(&id).filter(|rollout| !rollout.state.is_over());
        let none = || Rejected::NoRollout(format!("there is no rollout {id} under way"));
        let rollout = under_way.ok_or_else(none)?.clone();
        self.check_versions(&rollout.services.iter().map(|m| &m.service).collect::<Vec<_>>(), origin)?;
        if !rollout.wants_test() {
            let (state, hint) = (rollout.state.label(), "nobody is to test its candidate now");
            return Err(Rejected::NotNow { id, state, hint });
        }
        let (input, cause) = match found {
            Validated::Passed => (Input::Ready, "the validation has passed"),
            Validated::Failed => (Input::NotReady, "the validation has failed"),
        };
        let why: String = origin.reason.iter().flat_map(|why| why.chars()).take(LONGEST).collect();
        let cause = if why.is_empty() { cause.to_owned() } else { format!("{cause}: {why}") };
        let by = By { actor: origin.actor.clone(), cause, figures: Vec::new() };
        let version = self.say(id, input, &by, Some((origin, fingerprint))).await?;
        self.shared.figures.attempted("validate", "done");
        Ok(RolloutReceipt { id, version, changed: true })
    }
}

/// What was said and not heard, for the audit log.
pub(super) fn asked(desired: &Desired, id: RolloutId, found: Validated) -> Value {
    let services =
        desired.rollouts.get(&id).map(|r| r.services.iter().map(|m| m.service.to_string()).collect::<Vec<_>>());
    json!({ "services": services.unwrap_or_default(), "rollout": id.to_string(), "status": found.label() })
}
