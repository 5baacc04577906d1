//! The old process's side of an upgrade: starts the new one, hands over sockets and state, and takes the state back
//! where the new one fails.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::line::{Line, MOST};
use super::{
    FromNew, FromOld, Hello, PREPARED_WITHIN, PROTOCOL, Passed, Program, READY_WITHIN, SAYING, STDIN, VARIABLE,
};
use crate::admin::{UpgradeError, UpgradeWish};
use crate::control::command::Origin;
use crate::control::handover::State;
use crate::routing::sockets::{FileOwner, Sockets};

/// States of the new process that wait to be published here at the most; what comes later says it all anyway.
const STATES: usize = 16;

/// From one sentence of the new process to the next there may be days; it is asked for again after this time.
const LISTENING: Duration = Duration::from_secs(3600);

/// A process that has hung up has a status after this time.
const GONE_WITHIN: Duration = Duration::from_millis(500);

/// A new process that may have accepted connections may finish them for so long.
const ENDING: Duration = Duration::from_secs(super::FINISHING.as_secs() + 2);

/// A new process that has not taken over yet.
#[derive(Debug)]
pub(in crate::app) struct Attempt {
    child: Child,
    line: Arc<Line>,
    /// Whether this process was told to stop meanwhile.
    interrupted: watch::Receiver<bool>,
    /// Its version of pointsman, once it has said so.
    version: String,
    /// Where the sockets listen that it goes on with.
    taken: Vec<String>,
    /// Whether it may have accepted connections: it has the state.
    may_accept: bool,
}

/// The process that has taken over.
#[derive(Debug)]
pub(in crate::app) struct Successor {
    pub(in crate::app) pid: u32,
    pub(in crate::app) version: String,
    taken: Vec<String>,
    line: Arc<Line>,
}

/// Why it has not: for people, and what it said itself.
#[derive(Debug)]
pub(in crate::app) struct Failure {
    why: String,
    errors: Vec<String>,
}

impl Failure {
    pub(in crate::app) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), errors: Vec::new() }
    }

    /// All of it, for the audit log.
    pub(in crate::app) fn told(&self) -> String {
        if self.errors.is_empty() { self.why.clone() } else { format!("{}: {}", self.why, self.errors.join("; ")) }
    }
}

impl From<Failure> for UpgradeError {
    fn from(failure: Failure) -> Self {
        UpgradeError::Failed { why: failure.told(), errors: failure.errors }
    }
}

/// A listener's sockets with its name; those of the admin port are among them.
pub(in crate::app) type Named = (String, Arc<Sockets>);

impl Attempt {
    /// Starts the new process and hands it all sockets. It outlives this one: it has a process group of its own.
    ///
    /// # Errors
    /// When it cannot be started, or does not listen.
    pub(in crate::app) async fn start(
        program: &Program,
        wish: &UpgradeWish,
        sockets: Vec<Named>,
        interrupted: watch::Receiver<bool>,
    ) -> Result<Self, Failure> {
        if std::process::id() == 1 {
            let why = "this is process 1 of a container, which ends with it; start a new container instead";
            return Err(Failure::new(why));
        }
        let binary = wish.binary.as_deref().unwrap_or(&program.binary);
        let config = wish.config.as_deref().unwrap_or(&program.config);
        let (child, line) =
            spawned(binary, config).map_err(|e| Failure::new(format!("cannot start {}: {e}", binary.display())))?;
        let line = Arc::new(line);
        let origin = wish.origin.clone();
        let (version, taken) = (String::new(), Vec::new());
        let mut attempt = Self { child, line: Arc::clone(&line), interrupted, version, taken, may_accept: false };
        // A process that does not listen is told apart by what it says, or does not.
        let said = tokio::task::spawn_blocking(move || introduced(&line, &origin, &sockets)).await;
        if let Ok(Err(error)) = said {
            tracing::debug!(%error, "the new process does not listen");
        }
        match attempt.hear(PREPARED_WITHIN).await {
            Ok(FromNew::Prepared { protocol, version, taken }) if protocol == PROTOCOL => {
                (attempt.version, attempt.taken) = (version, taken);
                Ok(attempt)
            }
            Ok(FromNew::Prepared { protocol, version, .. }) => Err(attempt.given_up(Failure::new(format!(
                "pointsman {version} takes over by version {protocol} of the protocol, this one hands over by {PROTOCOL}"
            ))).await),
            Ok(other) => Err(attempt.given_up(out_of_turn(&other)).await),
            Err(failure) => Err(attempt.given_up(failure).await),
        }
    }

    /// The state is closed: the new process opens it and begins to serve.
    ///
    /// # Errors
    /// When it does not; it is gone then.
    pub(in crate::app) async fn finish(mut self) -> Result<Successor, Failure> {
        self.may_accept = true;
        let served = match self.say(FromOld::Yours).await {
            Ok(()) => self.hear(READY_WITHIN).await,
            Err(failure) => Err(failure),
        };
        let served = match served {
            Ok(FromNew::Ready) => self.say(FromOld::Go).await,
            Ok(other) => Err(out_of_turn(&other)),
            Err(failure) => Err(failure),
        };
        match served {
            Ok(()) => {
                let Self { child, line, version, taken, .. } = self;
                Ok(Successor { pid: child.id(), version, taken, line })
            }
            Err(failure) => Err(self.given_up(failure).await),
        }
    }

    /// Tells the new process to end, and gives it time to finish what it has accepted.
    async fn end(&mut self) {
        // It may end in this moment.
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.wait_for_end(ENDING).await;
    }

    /// Ends the new process; what is said about it is `failure`, and how it ended where that is all there is to say.
    pub(in crate::app) async fn given_up(mut self, failure: Failure) -> Failure {
        let before = self.child.try_wait().ok().flatten();
        if self.may_accept && before.is_none() {
            self.end().await;
        }
        let ended = tokio::task::spawn_blocking(move || {
            // It may have ended already.
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.line.hang_up();
        });
        // Whatever comes of it, nobody can do more.
        let _ = ended.await;
        match before {
            Some(status) if failure.errors.is_empty() => Failure::new(format!(
                "the new process ended with {status} before it could take over; what it said is in the log"
            )),
            _ => failure,
        }
    }

    async fn say(&self, what: FromOld) -> Result<(), Failure> {
        let line = Arc::clone(&self.line);
        let said = tokio::task::spawn_blocking(move || line.say(&what, &[], SAYING)).await;
        match said {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::new(format!("the new process does not listen: {error}"))),
            Err(panicked) => Err(Failure::new(panicked.to_string())),
        }
    }

    async fn hear(&mut self, within: Duration) -> Result<FromNew, Failure> {
        let line = Arc::clone(&self.line);
        let hearing = tokio::task::spawn_blocking(move || line.hear(within));
        let heard = tokio::select! {
            // First: what has been said counts, whatever has come since.
            biased;
            heard = hearing => heard,
            _ = self.interrupted.wait_for(|interrupted| *interrupted) => {
                return Err(Failure::new("this process was told to stop meanwhile"));
            }
        };
        match heard {
            Ok(Ok((FromNew::Failed { errors }, _))) => {
                Err(Failure { why: "the new process cannot take over".to_owned(), errors })
            }
            Ok(Ok((said, _))) => Ok(said),
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                Err(Failure::new(format!("the new process did not come up within {} s", within.as_secs())))
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.wait_for_end(GONE_WITHIN).await;
                Err(Failure::new("the new process hung up before it could take over"))
            }
            Ok(Err(error)) => Err(Failure::new(format!("the new process is not understood: {error}"))),
            Err(panicked) => Err(Failure::new(panicked.to_string())),
        }
    }

    /// A process that ends closes its descriptors first, and has a status a moment later.
    async fn wait_for_end(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Successor {
    /// Whether it goes on with these sockets.
    pub(in crate::app) fn has_taken(&self, sockets: &Sockets) -> bool {
        sockets.place().is_some_and(|place| self.taken.contains(&place.to_string()))
    }

    /// What it publishes, from now on until it is gone.
    pub(in crate::app) fn states(&self) -> mpsc::Receiver<State> {
        let (sender, states) = mpsc::channel(STATES);
        let line = Arc::clone(&self.line);
        // Ends with either process: the line is hung up, or nobody takes what it says. Not a task of the runtime,
        // whose end would wait for it.
        std::thread::spawn(move || {
            loop {
                match line.hear(LISTENING) {
                    Ok((FromNew::State(told), _)) => {
                        let Some(state) = super::understood(&told) else { continue };
                        if sender.blocking_send(state).is_err() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::TimedOut && !sender.is_closed() => {}
                    Ok(_) | Err(_) => return,
                }
            }
        });
        states
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.line.hang_up();
    }
}

fn spawned(binary: &Path, config: &Path) -> io::Result<(Child, Line)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(binary);
    command.arg("run").arg("--config").arg(config).env(VARIABLE, STDIN).process_group(0);
    command.stdin(Stdio::from(OwnedFd::from(theirs)));
    // Its end of the line is closed here with the command, so that its end is noticed.
    Ok((command.spawn()?, Line::new(ours)))
}

fn introduced(line: &Line, origin: &Origin, sockets: &[Named]) -> io::Result<()> {
    let hello = FromOld::Hello(Hello {
        protocol: PROTOCOL,
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        actor: origin.actor.clone(),
        reason: origin.reason.clone(),
    });
    say(line, &hello)?;
    for (name, sockets) in sockets {
        let passed = || Passed { name: name.clone(), ours: sockets.file_owner() == FileOwner::Us };
        for some in sockets.descriptors().chunks(MOST) {
            line.say(&FromOld::Socket(passed()), some, SAYING)?;
        }
    }
    say(line, &FromOld::NoMoreSockets)
}

fn say(line: &Line, what: &impl Serialize) -> io::Result<()> {
    line.say(what, &[], SAYING)
}

fn out_of_turn(said: &FromNew) -> Failure {
    Failure::new(format!("the new process speaks out of turn: {said:?}"))
}
