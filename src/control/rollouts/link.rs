//! Links by which somebody without a token can agree, once: the signature in them is the credential.
//!
//! It is made with a key that only the controller knows: derived from the first service's salt, which is secret and as
//! durable as the rollout. What it is for is passed when somebody has agreed, so that it is good for that once.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use crate::control::command::{Origin, Rejected, RolloutReceipt, RolloutWish};
use crate::control::handle::Handle;
use crate::control::running::Running;
use crate::control::view::RolloutView;
use crate::model::cohort::Salt;
use crate::model::rollout::plan::Approver;
use crate::model::rollout::{Phase, Rollout, RolloutId, State, Stop};

/// The salt is another key's material for everything else.
const PURPOSE: &[u8] = b"pointsman: links that approve a rollout";

/// Who has agreed by a link.
const ACTOR: &str = "link";

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The rollout.
    pub id: RolloutId,
    /// What the link was signed with: `STOP.EXPIRES.SIGNATURE`.
    pub token: String,
}

/// A link taken apart.
struct Parts<'a> {
    /// Ahead of what it waits: `step-1`, `drain`.
    stop: &'a str,
    /// Until when it is good, in seconds since 1970.
    expires: i64,
    signature: Vec<u8>,
}

impl Link {
    fn parts(&self) -> Option<Parts<'_>> {
        let (stop, rest) = self.token.split_once('.')?;
        let (expires, signature) = rest.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(Parts { stop, expires: expires.parse().ok()?, signature })
    }
}

impl Handle {
    /// Path and query of the link by which anybody can agree that `view`'s rollout goes on; none where nobody has to,
    /// and where somebody in particular must not.
    pub fn approval_link(&self, view: &RolloutView) -> Option<String> {
        self.shared.running.load().approval_link(&view.rollout)
    }

    /// What `link` would approve.
    ///
    /// # Errors
    /// [`Rejected::BadLink`]; [`Rejected::LinkExpired`]; [`Rejected::NotNow`] when it was decided already.
    pub async fn verify_link(&self, link: &Link) -> Result<RolloutView, Rejected> {
        self.verified(link)?;
        self.rollout(link.id).await
    }

    /// Agrees by `link`.
    ///
    /// # Errors
    /// As [`Handle::verify_link`], and all that an approval can be refused for.
    pub async fn approve_by_link(&self, link: &Link) -> Result<RolloutReceipt, Rejected> {
        let (rollout, version) = self.verified(link)?;
        let Some(moving) = rollout.services.first() else { return Err(bad("it is about nothing")) };
        // With the version that was looked at, so that nobody agrees to what comes behind it.
        let origin = Origin { actor: ACTOR.to_owned(), expected_version: Some(version), ..Origin::default() };
        self.steer_rollout(moving.service.clone(), RolloutWish::Approve, origin).await
    }

    /// The rollout of a link that is good now, and the version of its first service.
    fn verified(&self, link: &Link) -> Result<(Rollout, u64), Rejected> {
        let running = self.shared.running.load();
        let not_ours = || bad("it is none of ours, or its rollout is long over");
        let rollout = running.desired.rollouts.get(&link.id).ok_or_else(not_ours)?;
        let salt = salt(&running, rollout).ok_or_else(not_ours)?;
        let parts = link.parts().ok_or_else(not_ours)?;
        let said = said(link.id, parts.stop, parts.expires);
        // In constant time.
        hmac::verify(&key(salt), said.as_bytes(), &parts.signature).map_err(|_| not_ours())?;
        if waits_ahead_of(rollout).map(label).as_deref() != Some(parts.stop) {
            let hint = "what this link is for was decided already";
            return Err(Rejected::NotNow { id: rollout.id, state: rollout.state.label(), hint });
        }
        if Timestamp::now().as_second() > parts.expires {
            return Err(Rejected::LinkExpired);
        }
        if matches!(rollout.state, State::Paused(_)) || rollout.is_let_through() {
            let hint = "somebody has paused it, or has agreed already; ask who looks after it";
            return Err(Rejected::NotNow { id: rollout.id, state: rollout.state.label(), hint });
        }
        if rollout.plan.approval.as_ref().is_none_or(|approval| approval.by != Approver::Anyone) {
            return Err(bad("somebody with a name has to agree to this rollout"));
        }
        let first = rollout.services.first().and_then(|m| running.desired.services.get(m.service.as_str()));
        Ok((rollout.clone(), first.map_or(running.desired.version, |service| service.version)))
    }
}

impl Running {
    /// As [`Handle::approval_link`].
    pub(in crate::control) fn approval_link(&self, rollout: &Rollout) -> Option<String> {
        let approval = rollout.plan.approval.as_ref().filter(|approval| approval.by == Approver::Anyone)?;
        let stop = label(waits_ahead_of(rollout)?);
        let expires = rollout.since.as_second().saturating_add_unsigned(approval.within.as_secs());
        let signature = signature(salt(self, rollout)?, &said(rollout.id, &stop, expires));
        Some(format!("/rollouts/{}/approve?token={stop}.{expires}.{signature}", rollout.id))
    }
}

fn bad(why: &'static str) -> Rejected {
    Rejected::BadLink(why)
}

fn waits_ahead_of(rollout: &Rollout) -> Option<Stop> {
    match rollout.state.phase()? {
        Phase::AwaitingApproval(stop) => Some(stop),
        _ => None,
    }
}

fn label(stop: Stop) -> String {
    match stop {
        Stop::Step(index) => format!("step-{}", index + 1),
        Stop::Drain => "drain".to_owned(),
    }
}

fn salt(running: &Running, rollout: &Rollout) -> Option<Salt> {
    Some(running.desired.services.get(rollout.services.first()?.service.as_str())?.salt)
}

fn said(id: RolloutId, stop: &str, expires: i64) -> String {
    format!("{id}\n{stop}\n{expires}")
}

fn key(salt: Salt) -> hmac::Key {
    let root = hmac::Key::new(hmac::HMAC_SHA256, &salt.0.to_be_bytes());
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, PURPOSE).as_ref())
}

fn signature(salt: Salt, said: &str) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&key(salt), said.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_salt_one_rollout_one_stop_and_one_time() {
        let text = said(RolloutId(12), "step-1", 1_700_000_000);
        let made = signature(Salt(7), &text);
        assert_eq!(made, signature(Salt(7), &text));
        for (salt, other) in [
            (8, text.clone()),
            (7, said(RolloutId(13), "step-1", 1_700_000_000)),
            (7, said(RolloutId(12), "step-11", 700_000_000)),
            (7, said(RolloutId(12), "drain", 1_700_000_000)),
            (7, said(RolloutId(12), "step-1", 1_700_000_001)),
        ] {
            assert_ne!(made, signature(Salt(salt), &other), "{other}");
        }
    }
}
