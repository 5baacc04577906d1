//! `shutdown`: how the process leaves.

use std::time::Duration;

use super::check::{Check, or};
use super::drain::within_a_day;
use crate::config::file::{self, Maybe, Period};
use crate::config::spec::Shutdown;

/// How the process leaves.
pub(super) fn shutdown(check: &Check<'_>, field: &Maybe<file::Shutdown>) -> Option<Shutdown> {
    let default = Shutdown::default();
    let Some(at) = field else { return Some(default) };
    let shutdown = at.value.as_ref()?;
    let lame_duck = match &shutdown.lame_duck {
        // None at all is the default, and may be written down.
        written if or(written, Period(default.lame_duck))?.0.is_zero() => Some(Duration::ZERO),
        written => within_a_day(check, "lame_duck", written, Period(default.lame_duck)),
    };
    let timeout = within_a_day(check, "timeout", &shutdown.timeout, Period(default.timeout));
    Some(Shutdown { lame_duck: lame_duck?, timeout: timeout? })
}
