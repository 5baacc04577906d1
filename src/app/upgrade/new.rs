//! The new process's side of an upgrade: takes the sockets, says how far it has come, and tells the old one what it
//! publishes.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::line::Line;
use super::{FromNew, FromOld, Hello, PREPARED_WITHIN, PROTOCOL, SAYING, STDIN, VARIABLE, YOURS_WITHIN};
use crate::control::command::Origin;
use crate::control::handle::Handle;
use crate::control::handover::Predecessor;
use crate::routing::inherited::{Heirloom, Inherited};
use crate::routing::publish::Reader;
use crate::routing::sockets::FileOwner;

/// How long the old process may take to see that this one serves.
const GO_WITHIN: Duration = Duration::from_secs(10);

/// How long it is listened at a time whether the old process is still there; the end of this one may wait for so long.
const LISTENING: Duration = Duration::from_millis(500);

/// A process that takes over from another one.
#[derive(Debug)]
pub(in crate::app) struct Heir {
    line: Arc<Line>,
    /// From whom.
    pub(in crate::app) from: Predecessor,
    /// Who wished it.
    pub(in crate::app) origin: Origin,
}

impl Heir {
    /// Whether this process is to take over, and the sockets that it is handed. Call it first of all.
    ///
    /// # Errors
    /// When the old process is not there, or does not say what is understood here.
    pub(in crate::app) fn of_old_process() -> anyhow::Result<Option<(Self, Inherited)>> {
        if std::env::var_os(VARIABLE).is_none_or(|value| value != STDIN) {
            return Ok(None);
        }
        let line =
            Line::new(own_stdin().with_context(|| format!("{VARIABLE} is set, but nobody hands anything over"))?);
        let (said, _) = line.hear(PREPARED_WITHIN).context("the old process says nothing")?;
        let FromOld::Hello(hello) = said else { bail!("the old process does not say who it is: {said:?}") };
        let protocol = hello.protocol;
        let heir = Self::greeted(line, hello);
        if protocol != PROTOCOL {
            let error = anyhow::anyhow!(
                "the old process hands over by version {protocol} of the protocol, this one by {PROTOCOL}; stop that one and start this one instead"
            );
            heir.fail(&error);
            return Err(error);
        }
        let inherited = heir.inherited().inspect_err(|error| heir.fail(error))?;
        Ok(Some((heir, inherited)))
    }

    fn greeted(line: Line, hello: Hello) -> Self {
        let Hello { pid, version, actor, reason, .. } = hello;
        let origin = Origin { actor, reason, ..Origin::default() };
        Self { line: Arc::new(line), from: Predecessor { pid, version }, origin }
    }

    fn inherited(&self) -> anyhow::Result<Inherited> {
        let mut sockets = Vec::new();
        loop {
            let (said, with) = self.line.hear(PREPARED_WITHIN).context("the old process has not said all")?;
            match said {
                FromOld::Socket(passed) => {
                    let file = if passed.ours { FileOwner::Us } else { FileOwner::Others };
                    for socket in with {
                        sockets.push(Heirloom::new(socket, passed.name.clone(), file)?);
                    }
                }
                FromOld::NoMoreSockets => return Ok(Inherited::new(sockets)),
                other => bail!("the old process speaks out of turn: {other:?}"),
            }
        }
    }

    /// All is prepared that can fail: waits until the state is ours.
    ///
    /// # Errors
    /// When the old process is gone or does not hand it over.
    pub(in crate::app) async fn wait_for_state(&self, taken: Vec<String>) -> anyhow::Result<()> {
        let prepared = FromNew::Prepared { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned(), taken };
        self.say(prepared).await?;
        let line = Arc::clone(&self.line);
        let heard = tokio::task::spawn_blocking(move || line.hear(YOURS_WITHIN)).await?;
        let (said, _) = heard.context("the old process did not hand over its state")?;
        ensure!(matches!(said, FromOld::Yours), "the old process speaks out of turn: {said:?}");
        Ok(())
    }

    /// This process serves: waits until the old one has seen that. One that is gone by now has nothing to say any more.
    ///
    /// # Errors
    /// When the old process has changed its mind.
    pub(in crate::app) async fn wait_for_go(&self) -> anyhow::Result<()> {
        if self.say(FromNew::Ready).await.is_err() {
            tracing::warn!("the old process is gone before it was told that this one serves");
            return Ok(());
        }
        let line = Arc::clone(&self.line);
        match tokio::task::spawn_blocking(move || line.hear(GO_WITHIN)).await? {
            Ok((FromOld::Go, _)) => Ok(()),
            Ok((said, _)) => bail!("the old process speaks out of turn: {said:?}"),
            Err(error) => {
                tracing::warn!(%error, "the old process has not seen that this one serves");
                Ok(())
            }
        }
    }

    /// Tells the old process what is published, for as long as it is there.
    pub(in crate::app) async fn tell(self, handle: Handle, reader: Reader) {
        let _is_there = handle.has_predecessor();
        // One for all the time: each that is begun waits in a thread of its own.
        let mut gone = pin!(self.is_gone());
        tokio::select! {
            () = &mut gone => return,
            () = self.tell_all(&handle, reader) => {}
        }
        // It does not listen, and may have requests all the same.
        gone.await;
    }

    async fn tell_all(&self, handle: &Handle, mut reader: Reader) {
        loop {
            let state = handle.state();
            if let Err(error) = self.say(FromNew::State(super::told(&state))).await {
                return tracing::debug!(%error, "the old process does not listen any more");
            }
            // Not for every table: only where something is different for the old process.
            while handle.state() == state {
                if !reader.changed().await {
                    return;
                }
            }
        }
    }

    /// Until the old process has left. It says nothing more.
    async fn is_gone(&self) {
        loop {
            let line = Arc::clone(&self.line);
            let listening = tokio::task::spawn_blocking(move || line.hear::<FromOld>(LISTENING));
            match listening.await {
                Ok(Err(error)) if error.kind() != std::io::ErrorKind::TimedOut => return,
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// Says why this process cannot take over; it ends after that.
    pub(in crate::app) fn fail(&self, error: &anyhow::Error) {
        let errors = format!("{error:#}").lines().map(|line| line.trim_end().to_owned()).collect();
        // An old process that is gone does not need to know.
        let _ = self.line.say(&FromNew::Failed { errors }, &[], SAYING);
    }

    async fn say(&self, what: FromNew) -> anyhow::Result<()> {
        let line = Arc::clone(&self.line);
        tokio::task::spawn_blocking(move || line.say(&what, &[], SAYING)).await?.context("the old process is gone")
    }
}

/// The socket that is our standard input, which leads nowhere from then on.
fn own_stdin() -> std::io::Result<UnixStream> {
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    // Fails where it is none.
    socket.peer_addr()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(socket)
}
