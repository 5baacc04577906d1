//! How workers leave: nobody new is let in, everybody is told that this is the last answer, and what is under way has
//! a time to finish.
//!
//! A client that holds a connection open may have sent a request before it can know that we leave; closing under it
//! would lose that request (RFC 9112, section 9.6). So idle connections stay for a moment, or until the client speaks.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::connection::Order;
use super::worker::Worker;

/// What was sent before a client could know that we leave has arrived after this time.
const SILENCE: Duration = Duration::from_secs(1);

/// A worker turns to its orders within a fraction of a second, unless the machine is beside itself.
const TOLD_WITHIN: Duration = Duration::from_secs(3);

/// From one look at what is left to the next.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How workers leave.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    /// What is under way has so long to finish.
    pub within: Duration,
    /// What becomes of connections that wait for a request.
    pub idle: Idle,
}

/// What becomes of connections that wait for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// They are closed when they have been silent for a moment.
    Dismissed,
    /// They stay until the client speaks, and is told that this is the last answer, or until it closes.
    Awaited,
}

/// How many connections have a request or a tunnel. Each worker writes its own number, from the departure on.
#[derive(Debug)]
pub struct UnderWay {
    of: Vec<AtomicUsize>,
    /// A permit for each worker that accepts no more and has told all its clients.
    told: Semaphore,
}

impl UnderWay {
    pub(super) fn new(workers: usize) -> Self {
        Self { of: (0..workers).map(|_| AtomicUsize::new(0)).collect(), told: Semaphore::new(0) }
    }

    /// Resolves when all workers have shut their doors and told their clients, or do not come to it.
    pub async fn all_told(&self) {
        let workers = u32::try_from(self.of.len()).unwrap_or(u32::MAX);
        let told = tokio::time::timeout(TOLD_WITHIN, self.told.acquire_many(workers)).await;
        if told.is_err() {
            tracing::warn!("not every worker has said that it accepts no more");
        }
    }

    /// Right to a fraction of a second; at the end, those that were cut.
    #[must_use]
    pub fn count(&self) -> usize {
        self.of.iter().map(|worker| worker.load(Ordering::Acquire)).sum()
    }
}

/// Workers on their way out.
#[derive(Debug)]
pub struct Leaving {
    threads: Vec<JoinHandle<()>>,
    under_way: Arc<UnderWay>,
}

impl Leaving {
    pub(super) fn new(threads: Vec<JoinHandle<()>>, under_way: Arc<UnderWay>) -> Self {
        Self { threads, under_way }
    }

    /// What they have left to do.
    #[must_use]
    pub fn under_way(&self) -> Arc<UnderWay> {
        Arc::clone(&self.under_way)
    }

    /// Blocks until all of them have ended. Gives the number of connections that were cut with something under way.
    #[must_use]
    pub fn wait(self) -> usize {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
        self.under_way.count()
    }
}

/// Until nobody is left, or the time is up.
pub(super) async fn leave(worker: &Rc<Worker>, departure: Departure, under_way: &UnderWay) {
    let deadline = Instant::now() + departure.within;
    let dismissal = match departure.idle {
        Idle::Dismissed => deadline.min(Instant::now() + SILENCE),
        Idle::Awaited => deadline,
    };
    // Closed, not cut.
    worker.tunnels.say_farewell_before(deadline);
    let connections = &worker.connections;
    let mut told = false;
    loop {
        let late = Instant::now() >= deadline;
        let silent = Instant::now() >= dismissal;
        // Again and again: somebody may just have been let in.
        connections.tell_all(if silent { Order::Depart } else { Order::Finish });
        under_way.of[worker.index].store(connections.busy(), Ordering::Release);
        if !std::mem::replace(&mut told, true) {
            under_way.told.add_permits(1);
        }
        // The first look comes before whoever waits in the kernel's queue has been let in.
        tokio::time::sleep(LOOK_EVERY).await;
        let between = !silent && worker.doors.is_somebody_between();
        let nobody = connections.is_empty() && worker.tunnels.is_empty() && !between;
        if nobody || late {
            break;
        }
    }
    under_way.of[worker.index].store(connections.busy(), Ordering::Release);
}
