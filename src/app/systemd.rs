//! systemd: sockets that it has opened for us, and what it wants to be told (sd_listen_fds(3), sd_notify(3)).
//!
//! Without systemd all of this does nothing.

use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::routing::inherited::{Heirloom, Inherited};
use crate::routing::sockets::FileOwner;

/// The sockets that it has opened, with the names that its units give them.
///
/// # Errors
/// When something among them is no listening stream socket.
pub(super) fn sockets() -> anyhow::Result<Inherited> {
    // Read before, and never again: whoever takes them removes them, so that no child takes them for its own.
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(ToOwned::to_owned);
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        let name = names.next().unwrap_or_default();
        let tcp = passed.take_tcp_listener(index).ok().flatten().map(OwnedFd::from);
        let socket = match tcp {
            Some(socket) => Some(socket),
            None => passed.take_unix_listener(index)?.map(OwnedFd::from),
        };
        if let Some(socket) = socket {
            sockets.push(Heirloom::new(socket, name, FileOwner::Others)?);
        }
    }
    Ok(Inherited::new(sockets))
}

/// This process is the main one, and ready: connections are accepted.
pub(super) fn ready() {
    tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
}

/// The configuration is read again; [`ready`] follows.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "there is no time of day to tell systemd"),
    }
}

/// The process is on its way down.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the main one from now on. It says so itself; but only the main one may be listened to.
pub(super) fn taken_over(by: u32) {
    tell(&[NotifyState::MainPid(by)]);
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}
