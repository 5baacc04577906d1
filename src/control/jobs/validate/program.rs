//! A program tests the candidate: exit code 0 is well. It is in a process group of its own, and all of that ends with
//! the test: when its time is over, when its rollout is, and when this process is, however that ends.

use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Finding, Subject, line};
use crate::control::command::Validated;

/// From one look at whether it has ended to the next.
const LOOK: Duration = Duration::from_millis(50);

/// It may end by itself for so long when its time is over.
const GRACE: Duration = Duration::from_secs(2);

/// What it has printed is there by then, once it has ended.
const FLUSHED: Duration = Duration::from_millis(500);

/// As much of the end of what it prints is kept.
const KEPT: usize = 4096;

/// Of that, so many lines are told.
const LINES: usize = 10;

/// Runs it to its end.
pub(super) async fn run(words: &[String], subject: &Subject, within: Duration) -> Finding {
    let failed = |why: String| Finding { found: Validated::Failed, why };
    let Some((program, arguments)) = words.split_first() else { return failed("no program is named".to_owned()) };
    let (mut running, output) = match start(program, arguments, subject) {
        Ok(started) => started,
        Err(error) => return failed(format!("{program} cannot be started: {error}")),
    };
    let mut tail = Tail::default();
    let ended = watch(&mut running, output, &mut tail, Instant::now() + within).await;
    let printed = tail.text();
    let behind = |what: String| if printed.is_empty() { what } else { format!("{what}: {printed}") };
    match ended {
        Ok(Some(status)) if status.success() => Finding { found: Validated::Passed, why: printed },
        Ok(Some(status)) => failed(behind(shown(status))),
        Ok(None) => failed(behind(format!("{program} was ended, because it took longer than {within:?}"))),
        Err(error) => failed(format!("nobody knows how {program} has ended: {error}")),
    }
}

fn start(program: &str, arguments: &[String], subject: &Subject) -> std::io::Result<(Running, Receiver)> {
    let (reader, writer) = std::io::pipe()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    command.env("POINTSMAN_ROLLOUT", subject.rollout.to_string());
    command.env("POINTSMAN_SERVICE", subject.services.join(","));
    command.env("POINTSMAN_CANDIDATE", &subject.candidate).env("POINTSMAN_BASELINE", &subject.baseline);
    // Where there is none, an older one in our own environment is not it.
    command.env("POINTSMAN_VALIDATION_URL", subject.through.as_deref().unwrap_or_default());
    let child = command.spawn()?;
    let reader = unblocked(reader)?;
    // Only with the command our own ends of its output are closed.
    drop(command);
    let guard = guard(&child);
    Ok((Running { child, guard, status: None }, reader))
}

fn unblocked(reader: PipeReader) -> std::io::Result<Receiver> {
    Receiver::from_owned_fd(OwnedFd::from(reader))
}

/// Waits for its end, reading what it prints; none: it was not over by `deadline`, and was ended.
async fn watch(
    running: &mut Running,
    mut output: Receiver,
    tail: &mut Tail,
    deadline: Instant,
) -> std::io::Result<Option<ExitStatus>> {
    let ended = {
        let mut read = std::pin::pin!(tail.read(&mut output));
        let mut open = true;
        loop {
            if let Some(status) = running.ended()? {
                // What it has started may hold its output open for ever.
                let _ = timeout(FLUSHED, async {
                    if open {
                        read.await;
                    }
                })
                .await;
                break Some(status);
            }
            if Instant::now() >= deadline {
                break None;
            }
            tokio::select! {
                () = &mut read, if open => open = false,
                () = sleep(LOOK) => {}
            }
        }
    };
    if ended.is_none() {
        running.signal(Signal::TERM);
        let gone = async {
            while matches!(running.ended(), Ok(None)) {
                sleep(LOOK).await;
            }
        };
        let _ = timeout_at(Instant::now() + GRACE, gone).await;
    }
    Ok(ended)
}

fn shown(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("it was killed by signal {signal}"),
        (None, None) => "it has ended without an exit code".to_owned(),
    }
}

/// Where this process is killed, nobody else would end the program, and the test that begins after the restart would
/// have company: this waits for our end of its input to close. Without a shell there is none.
fn guard(of: &Child) -> Option<Child> {
    const SCRIPT: &str = "read -r _; kill -s KILL -- \"-$1\"";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT, "sh", &of.id().to_string()]).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().ok()
}

/// A program in a process group of its own. When this is dropped, none of the group is left.
struct Running {
    child: Child,
    /// Ends the group where this process cannot.
    guard: Option<Child>,
    /// How it has ended. From then on its number may be somebody else's.
    status: Option<ExitStatus>,
}

impl Running {
    /// How it has ended; then what is left of its group ends, too.
    fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if self.status.is_none() && waitid(WaitId::Pid(Pid::from_child(&self.child)), look)?.is_some() {
            self.end()?;
        }
        Ok(self.status)
    }

    /// Ends the group. Ahead of the program itself the guard, who must not find its number when it is somebody else's.
    fn end(&mut self) -> std::io::Result<()> {
        if let Some(mut guard) = self.guard.take() {
            guard.kill()?;
            guard.wait()?;
        }
        self.signal(Signal::KILL);
        self.status = Some(self.child.wait()?);
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            // A group that is gone needs no signal.
            let _ = kill_process_group(Pid::from_child(&self.child), signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            // Nobody is left to be told.
            let _ = self.end();
        }
    }
}

/// The end of what was printed.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    async fn read(&mut self, output: &mut Receiver) {
        let mut part = [0; 1024];
        while let Ok(read @ 1..) = output.read(&mut part).await {
            self.0.extend_from_slice(&part[..read]);
            let over = self.0.len().saturating_sub(KEPT);
            self.0.drain(..over);
        }
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        line(&lines[lines.len().saturating_sub(LINES)..].join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::subject;
    use super::*;

    async fn ran(script: &str, within: Duration) -> Finding {
        run(&["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()], &subject(), within).await
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn exit_code_0_is_well_and_what_it_prints_is_told() {
        let found = ran(
            "echo $POINTSMAN_ROLLOUT $POINTSMAN_SERVICE; echo $POINTSMAN_CANDIDATE $POINTSMAN_VALIDATION_URL >&2",
            LONG,
        );
        let why = "r3 shop,api / green http://127.0.0.1:8090".to_owned();
        assert_eq!(found.await, Finding { found: Validated::Passed, why });
        let found = ran("for i in $(seq 3000); do echo line $i; done; exit 7", LONG).await;
        assert_eq!(found.found, Validated::Failed);
        assert!(
            found.why.starts_with("exit code 7: line 2991 / ") && found.why.ends_with("/ line 3000"),
            "{}",
            found.why
        );
        assert_eq!(ran("kill -9 $$", LONG).await.why, "it was killed by signal 9");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_has_found_nothing_good() {
        let found = run(&["/nowhere/smoke.sh".to_owned()], &subject(), LONG).await;
        assert_eq!(found.found, Validated::Failed);
        assert!(found.why.contains("/nowhere/smoke.sh cannot be started"), "{}", found.why);
    }

    #[tokio::test]
    async fn when_its_time_is_over_all_that_it_has_started_ends() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let script = format!("trap '' TERM; sleep 1000 & echo $! $$ > {}; echo begun; wait; wait", pids.display());
        let found = ran(&script, Duration::from_secs(1)).await;
        assert_eq!(found.found, Validated::Failed);
        assert!(found.why.contains("longer than") && found.why.contains("begun"), "{}", found.why);
        for pid in std::fs::read_to_string(pids).unwrap().split_whitespace() {
            crate::control::samples::eventually("it is gone", || is_gone(pid)).await;
        }
    }

    /// Gone, or waited for by nobody but the system.
    fn is_gone(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
    }

    #[tokio::test]
    async fn what_it_leaves_behind_does_not_keep_the_test_from_its_end() {
        let found = ran("sleep 1000 & echo done", LONG).await;
        assert_eq!(found, Finding { found: Validated::Passed, why: "done".to_owned() });
    }
}
