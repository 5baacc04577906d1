//! `switch --hold … --run COMMAND`: holds, waits until nothing is under way, runs the command, and switches when it
//! succeeds; lets go without a switch when it does not.
//!
//! All of it is done from here, as an ordinary client of the admin API. Whatever happens on the way (the command fails,
//! the time runs out, Ctrl-C), those who wait are let go; and not before the command has ended, so that no request
//! meets it.

use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout_at};

use super::client::{Client, segment};
use super::hold;
use crate::admin::wire::Service;
use crate::model::period;

/// From one look to the next: at what is under way, and at the command.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A command that was asked to end has so long to do so, and the switch as long to be made. Less for short holds.
const LONGEST_MARGIN: Duration = Duration::from_secs(2);

/// How often it is looked whether the holds are still there while the command runs.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// A service that is held from here.
#[derive(Debug)]
struct Held {
    service: String,
    /// By which the hold is known; none: whether there is one is not known yet.
    until: Option<jiff::Timestamp>,
    version: Option<u64>,
}

/// What is to be done between hold and switch.
#[derive(Debug)]
pub(super) struct Between<'a> {
    pub(super) services: &'a [String],
    pub(super) to: &'a str,
    /// As the user wrote it.
    pub(super) hold: &'a str,
    /// At least the program.
    pub(super) command: &'a [String],
    pub(super) reason: Option<&'a str>,
    pub(super) health: Health,
}

/// Whether a target that is not healthy is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Needed,
    Ignored,
}

impl Between<'_> {
    /// Does it, with `switch` at the end.
    pub(super) async fn run<T>(
        &self,
        client: &Client,
        switch: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let time = period::parse(self.hold).map_err(|wrong| anyhow::anyhow!("--hold: {:?} {wrong}", self.hold))?;
        self.check(client).await?;
        let mut held = Vec::new();
        let result = tokio::select! {
            result = self.steps(client, &mut held, time, switch) => result,
            interrupted = interrupted() => interrupted.and_then(|()| bail!("interrupted")),
        };
        let released = release(client, &held).await;
        match (result, released) {
            (Ok(done), Ok(())) => Ok(done),
            (Ok(_), Err(error)) => Err(error.context("switched, but not released")),
            (Err(error), Ok(())) if held.is_empty() => Err(error),
            (Err(error), Ok(())) => Err(error.context("released without a switch")),
            (Err(error), Err(other)) => {
                Err(error.context(format!("neither switched nor released ({other:#}); the hold ends by itself")))
            }
        }
    }

    /// Nothing should be run for a switch that would be refused.
    async fn check(&self, client: &Client) -> anyhow::Result<()> {
        for name in self.services {
            let service = look(client, name).await?;
            let Some(group) = service.groups.get(self.to) else {
                let known = service.groups.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                bail!("service {name} has no group {:?}; its groups are {known}; nothing was run", self.to);
            };
            if service.split.get(self.to).is_some_and(|share| share.0 >= 100.0) {
                bail!("{} has everything of service {name} already; nothing was run", self.to);
            }
            if self.health == Health::Needed && !group.upstreams.iter().any(|u| u.health == "healthy") {
                bail!("group {} of service {name} has no healthy upstream; nothing was run (--force)", self.to);
            }
        }
        Ok(())
    }

    async fn steps<T>(
        &self,
        client: &Client,
        held: &mut Vec<Held>,
        time: Duration,
        switch: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        // Reckoned from before the first hold, so that it is over here before it is over there.
        let margin = (time / 5).min(LONGEST_MARGIN);
        let end = Instant::now() + time.saturating_sub(margin);
        for name in self.services {
            // Ahead of it: who is interrupted in between lets go of it as well.
            held.push(Held { service: name.clone(), until: None, version: None });
            match hold::begin(client, name, Some(self.hold), self.reason).await {
                Err(error) => {
                    held.pop();
                    return Err(error);
                }
                Ok(receipt) => {
                    let version = look(client, name).await?.version;
                    if let Some(one) = held.last_mut() {
                        (one.until, one.version) = (receipt.until, Some(version));
                    }
                }
            }
        }
        let Ok(quiet) = timeout_at(end, self.quiet(client)).await else {
            bail!("requests were still under way when the hold was about to end; nothing was run");
        };
        quiet?;
        let status = tokio::select! {
            status = self.command(end, margin / 2) => status?,
            why = lost(client, held) => bail!("{}; {} was ended", why?, self.command[0]),
        };
        if !status.success() {
            bail!("{} ended with {status}", self.command[0]);
        }
        if let Some(why) = is_lost(client, held).await? {
            bail!("{why}");
        }
        switch.await
    }

    /// Waits until nothing is under way at the groups that lose their share.
    async fn quiet(&self, client: &Client) -> anyhow::Result<()> {
        for name in self.services {
            loop {
                let service = look(client, name).await?;
                let others = service.groups.iter().filter(|(group, _)| *group != self.to);
                if others.map(|(_, group)| group.in_flight).sum::<u64>() == 0 {
                    break;
                }
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    async fn command(&self, end: Instant, grace: Duration) -> anyhow::Result<ExitStatus> {
        let (program, arguments) = self.command.split_first().context("no command is named")?;
        let mut command = Command::new(program);
        command.args(arguments).env("POINTSMAN_SERVICE", self.services.join(",")).env("POINTSMAN_TO", self.to);
        if std::io::stdin().is_terminal() {
            // In a process group of its own it could not read from there, and would wait for ever.
            command.stdin(Stdio::null());
        }
        let child = command.process_group(0).spawn().with_context(|| format!("{program} cannot be started"))?;
        let mut running = Running { child, grace };
        match timeout_at(end, running.ended()).await {
            Ok(status) => status,
            Err(_) => bail!("{program} was still running when the hold was about to end, and was ended"),
        }
    }
}

/// A command under way, in a process group of its own: what it has started ends with it. Dropping it ends it.
struct Running {
    child: Child,
    /// It has so long to end by itself when it is asked to.
    grace: Duration,
}

impl Running {
    async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone needs no signal.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.signal(Signal::TERM);
        let begun = std::time::Instant::now();
        // Nothing else is done here meanwhile: those who wait must not be let go before.
        while begun.elapsed() < self.grace && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK_EVERY);
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

async fn look(client: &Client, service: &str) -> anyhow::Result<Service> {
    client.get(&format!("/api/v1/services/{}", segment(service))).await
}

/// Lets go of what is ours.
async fn release(client: &Client, held: &[Held]) -> anyhow::Result<()> {
    let mut first = Ok(());
    for one in held {
        let ours = match look(client, &one.service).await {
            Ok(service) => service.hold.is_some_and(|hold| one.until.is_none_or(|until| hold.until == until)),
            // Better too often than not at all.
            Err(_) => true,
        };
        if ours {
            let released = hold::end(client, &one.service, None).await;
            first = first.and(released.map(drop));
        }
    }
    first
}

/// Resolves when one of the holds is not what it was: requests meet the command then.
async fn lost(client: &Client, held: &[Held]) -> anyhow::Result<String> {
    loop {
        if let Some(why) = is_lost(client, held).await? {
            return Ok(why);
        }
        sleep(WATCH_EVERY).await;
    }
}

async fn is_lost(client: &Client, held: &[Held]) -> anyhow::Result<Option<String>> {
    for one in held {
        let service = look(client, &one.service).await?;
        let until = service.hold.map(|hold| hold.until);
        if until.is_none() || until != one.until {
            return Ok(Some(format!("{} is not held any more: somebody has let go of it", one.service)));
        }
        if one.version.is_some_and(|version| version != service.version) {
            return Ok(Some(format!("somebody has changed {} meanwhile", one.service)));
        }
    }
    Ok(None)
}

/// Resolves at Ctrl-C, or when somebody asks the process to end.
async fn interrupted() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
