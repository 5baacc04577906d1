//! The begin of a rollout.

use jiff::Timestamp;

use super::plan::Plan;
use super::{By, Freezes, Moving, Phase, Rollout, RolloutId, State, Tested};
use crate::model::change::{ChangeError, Decision, Desired, Move, Numbered, ServiceState, unknown_service};
use crate::model::cohort::Salt;
use crate::model::names::{GroupName, ServiceName};
use crate::model::split::Share;

/// What a rollout begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct Begin {
    /// Its number.
    pub id: RolloutId,
    /// The services that move together, at least one.
    pub services: Vec<ServiceName>,
    /// The candidate.
    pub to: GroupName,
    /// How it is to go.
    pub plan: Plan,
    /// A new key of the cohort hash: others come first than the last time.
    pub salt: Salt,
    /// Why, in the words of whoever begins it.
    pub reason: Option<String>,
    /// Whether freezes count.
    pub freeze: Freezes,
}

/// The desired state with a new rollout in it, which has moved nobody yet.
///
/// # Errors
/// [`ChangeError`] when there is no such service or group, when one of them is in a rollout already, or when the group
/// has everything already.
pub fn begin(desired: &Desired, begin: Begin, by: &By, at: Timestamp) -> Result<Decision, ChangeError> {
    let mut next = desired.clone();
    let (mut services, mut moves) = (Vec::new(), Vec::new());
    for name in &begin.services {
        if services.iter().any(|m: &Moving| m.service == *name) {
            continue;
        }
        desired.may_be_moved(name)?;
        let state = next.services.get_mut(name.as_str()).ok_or_else(|| unknown_service(desired, name))?;
        state.known(name, &begin.to)?;
        if state.split.share(&begin.to) == Share::ALL {
            return Err(ChangeError::AlreadyLive { service: name.clone(), group: begin.to.clone() });
        }
        services.push(Moving { service: name.clone(), from: prepare(state, begin.salt) });
        let (split, stable) = (state.split.clone(), state.stable.clone());
        moves.push(Move { service: name.clone(), before: split.clone(), after: split, stable, changed: true });
    }
    let share = moves.first().map_or(Share::NONE, |m| m.after.share(&begin.to));
    if moves.iter().any(|m| m.after.share(&begin.to) != share) {
        let shares = moves.iter().map(|m| format!("{} {} %", m.service, m.after.share(&begin.to).percent()));
        return Err(ChangeError::UnevenShares {
            group: begin.to.clone(),
            shares: shares.collect::<Vec<_>>().join(", "),
        });
    }
    let mut rollout = Rollout {
        id: begin.id,
        services,
        to: begin.to,
        plan: begin.plan,
        state: State::Active(Phase::Checking),
        step: None,
        share,
        tested: Tested::NotYet,
        agreed: None,
        since: at,
        started_at: at,
        started_by: by.actor.clone(),
        reason: begin.reason,
        ended_at: None,
        freeze: begin.freeze,
        timeline: Vec::new(),
    };
    rollout.note(at, by);
    // Of each service the last one is kept in sight, until there is a new one.
    next.rollouts.retain(|_, old| !old.services.iter().any(|m| rollout.moves(m.service.as_str())));
    next.rollouts.insert(rollout.id, rollout);
    let mut decision = Decision { desired: next, moves };
    decision.number(Numbered::NotYet);
    Ok(decision)
}

/// Where a rollback of the service goes from now on. Nobody is thrown from one group to another by the new salt: it is
/// taken only while one group has everything.
fn prepare(state: &mut ServiceState, salt: Salt) -> crate::model::split::Split {
    if state.split.is_whole() {
        state.stable = state.split.clone();
        state.salt = salt;
    }
    state.stable.clone()
}
