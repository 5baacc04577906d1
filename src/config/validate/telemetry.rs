//! `telemetry`: logs.

use tracing_subscriber::EnvFilter;

use super::check::{Check, or};
use crate::config::file::{self, Maybe, Percentage};
use crate::config::spec::{AccessLog, LogTarget, Telemetry};
use crate::config::yaml::{At, quote};
use crate::model::split::Share;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Logs.
pub(super) fn telemetry(check: &Check<'_>, field: Option<&At<file::Telemetry>>) -> Option<Telemetry> {
    let absent = file::Telemetry::default();
    let telemetry = match field {
        None => &absent,
        Some(at) => at.value.as_ref()?,
    };
    let log = check.maybe(&telemetry.log, filter);
    let access_log = access_log(check, &telemetry.access_log);
    Some(Telemetry { log: log?.unwrap_or_else(|| "info".to_owned()), access_log: access_log? })
}

fn filter(text: &str) -> Result<String, String> {
    let wrong = || format!("{} is no filter; write error, warn, info, debug, trace, or target=level", quote(text));
    // By itself, the filter's parser takes a mistyped level for the name of a target.
    let is_level = |part: &str| part.contains('=') || LEVELS.contains(&part.trim().to_lowercase().as_str());
    if text.split(',').all(is_level) && EnvFilter::builder().parse(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err(wrong())
    }
}

fn access_log(check: &Check<'_>, field: &Maybe<file::AccessLog>) -> Option<Option<AccessLog>> {
    let Some(at) = field else { return Some(None) };
    match at.value.as_ref()? {
        file::AccessLog::Word(word) if word == "off" => Some(None),
        file::AccessLog::Word(word) => {
            check.add(at.place, format!("{} is no access log; write off, or {{ to: stdout }}", quote(word)))
        }
        file::AccessLog::Map(map) => {
            let to = check.maybe(&map.to, |text| target(check, text));
            let format = map.format.as_ref().is_none_or(|at| at.value.is_some());
            let share = or(&map.share, Percentage(Share::ALL));
            let (to, share) = (to?.unwrap_or(Some(LogTarget::Stdout)), share?.0);
            format.then_some(to.map(|to| AccessLog { to, share }))
        }
    }
}

fn target(check: &Check<'_>, text: &str) -> Result<Option<LogTarget>, String> {
    match text {
        "off" => Ok(None),
        "stdout" => Ok(Some(LogTarget::Stdout)),
        "" => Err("the target is empty; write stdout, a path or off".to_owned()),
        path => Ok(Some(LogTarget::File(check.path(path)))),
    }
}
