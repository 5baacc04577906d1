//! `freeze` of a rollout: when nothing new begins.

use super::check::Check;
use super::health::positive;
use crate::config::calendar;
use crate::config::file;
use crate::config::yaml::At;
use crate::model::rollout::plan::Freeze;

/// A time in which nothing new begins.
pub(super) fn freeze(check: &Check<'_>, at: &At<file::Freeze>) -> Option<Freeze> {
    let written = at.value.as_ref()?;
    let right = "when it begins, as in crontab: \"0 18 * * FRI\"";
    let cron = check
        .need(at.place, "cron", right, &written.cron)
        .and_then(|at| check.parse(at, |text| calendar::cron(text).map(|_| text.to_owned())));
    let length = check
        .need(at.place, "for", "how long it lasts, like 62h", &written.length)
        .and_then(|at| positive(check, "for", &written.length, at.value?));
    let zone = check.maybe(&written.zone, |name| calendar::zone(name).map(|_| name.to_owned()));
    Some(Freeze { cron: cron?, length: length?, zone: zone?.unwrap_or_else(|| "UTC".to_owned()) })
}
