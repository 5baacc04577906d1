//! A worker: one thread with its own runtime, accepting sockets and pools.
//!
//! Its housekeeping follows the published table: starts and stops accepting, closes connections to upstreams that are
//! gone or unhealthy, and connections of clients that have been silent for too long; tells tunnels that have to end.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use http::HeaderValue;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::accept::{self, Are, Doors, Doorway};
use super::connection::{Client, Order};
use super::leaving::{self, Departure, Idle, Leaving, UnderWay};
use super::pool::Pools;
use super::tunnels::Tunnels;
use crate::routing::live::Health;
use crate::routing::publish::{Reader, Snapshots};
use crate::telemetry::access_log;

/// After so many idle seconds a client's connection gives back what an idle connection does not need.
const BEFORE_REST: u64 = 1;
/// Bytes that pass through a tunnel at a time.
const SCRATCH: usize = 64 << 10;

/// What all requests of a worker share. Lives on one thread.
#[derive(Debug)]
pub(super) struct Worker {
    /// Its number, from 0: the index of its slots.
    pub(super) index: usize,
    pub(super) snapshots: Snapshots,
    pub(super) pools: Pools,
    pub(super) connections: Connections,
    pub(super) doors: Doors,
    pub(super) tunnels: Tunnels,
    /// None: off.
    pub(super) access_log: Option<access_log::Sink>,
    /// Seconds since it began, counted by its housekeeping: a clock that costs nothing to read.
    seconds: Cell<u64>,
    /// Seconds since 1970, written with it.
    unix: Cell<u64>,
    /// The time for `Date`, written once a second.
    date: RefCell<HeaderValue>,
    /// What passes through tunnels passes through here; nobody keeps it across an await.
    scratch: RefCell<Box<[u8]>>,
}

impl Worker {
    /// Seconds since the worker began.
    pub(super) fn now(&self) -> u64 {
        self.seconds.get()
    }

    /// Seconds since 1970, right to the second.
    pub(super) fn unix(&self) -> u64 {
        self.unix.get()
    }

    /// The time as `Date` has it (RFC 9110, section 6.6.1), right to the second.
    pub(super) fn date(&self) -> Ref<'_, HeaderValue> {
        self.date.borrow()
    }

    /// Room for bytes on their way, for the time of one poll.
    pub(super) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    fn tick(&self) {
        self.seconds.set(self.seconds.get() + 1);
        self.unix.set(unix());
        *self.date.borrow_mut() = date();
    }
}

fn unix() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}

fn date() -> HeaderValue {
    let now = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now());
    now.ok().and_then(|now| HeaderValue::try_from(now).ok()).unwrap_or(HeaderValue::from_static(""))
}

/// The client connections of a worker.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: RefCell<HashMap<u64, Rc<Client>, foldhash::fast::RandomState>>,
    next: Cell<u64>,
}

impl Connections {
    pub(super) fn add(&self, client: &Rc<Client>) -> u64 {
        let key = self.next.get();
        self.next.set(key + 1);
        self.open.borrow_mut().insert(key, Rc::clone(client));
        key
    }

    pub(super) fn remove(&self, key: u64) {
        self.open.borrow_mut().remove(&key);
    }

    pub(super) fn tell_all(&self, order: Order) {
        self.open.borrow().values().for_each(|c| c.progress.tell(order));
    }

    /// Closes those that have been idle for too long, and lets others rest.
    fn look_at_idle(&self, now: u64) {
        for client in self.open.borrow().values() {
            match client.progress.idle(now) {
                idle if idle > client.listener.idle_timeout.as_secs() => client.progress.tell(Order::Close),
                idle if idle > BEFORE_REST => client.progress.suggest_rest(),
                _ => {}
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Those with a request, or a tunnel.
    pub(super) fn busy(&self) -> usize {
        self.open.borrow().values().filter(|c| c.progress.is_busy()).count()
    }
}

/// Spawns hyper's tasks on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<thread::JoinHandle<()>>,
    stop: watch::Sender<Option<Departure>>,
    under_way: Arc<UnderWay>,
}

/// Starts `count` workers that serve what `reader` shows.
///
/// # Errors
/// When a thread or its runtime cannot be made.
pub fn start(reader: &Reader, count: usize, access_log: Option<&access_log::Sink>) -> io::Result<Workers> {
    let (stop, stopped) = watch::channel(None);
    let under_way = Arc::new(UnderWay::new(count));
    let thread = |index: usize| {
        let (reader, access_log) = (reader.clone(), access_log.cloned());
        let leave = (stopped.clone(), Arc::clone(&under_way));
        thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            match tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())
            {
                Ok(runtime) => runtime.block_on(run(index, reader, leave, access_log)),
                Err(error) => tracing::error!(%error, index, "this worker has no runtime and serves nothing"),
            }
        })
    };
    let threads = (0..count).map(thread).collect::<io::Result<_>>()?;
    Ok(Workers { threads, stop, under_way })
}

impl Workers {
    /// Stops accepting, lets what is under way finish, and cuts what is left when the time is up.
    #[must_use]
    pub fn leave(self, departure: Departure) -> Leaving {
        self.stop.send_replace(Some(departure));
        Leaving::new(self.threads, self.under_way)
    }
}

async fn run(
    index: usize,
    reader: Reader,
    (mut stopped, under_way): (watch::Receiver<Option<Departure>>, Arc<UnderWay>),
    log: Option<access_log::Sink>,
) {
    let worker = Rc::new(Worker {
        index,
        snapshots: reader.snapshots(),
        pools: Pools::default(),
        connections: Connections::default(),
        doors: Doors::default(),
        tunnels: Tunnels::new(index),
        access_log: log,
        seconds: Cell::new(0),
        unix: Cell::new(unix()),
        date: RefCell::new(date()),
        scratch: RefCell::new(vec![0; SCRATCH].into()),
    });
    let mut accepting = Some(Accepting::default());
    let departure = tokio::select! {
        () = keep_house(&worker, reader.clone(), &mut accepting) => None,
        departure = stopped.wait_for(Option::is_some) => departure.ok().and_then(|f| *f),
    };
    // Where nobody is left to say it, nobody is left to wait for.
    let departure = departure.unwrap_or(Departure { within: Duration::ZERO, idle: Idle::Dismissed });
    worker.doors.turn(if departure.idle == Idle::Dismissed { Are::Closing } else { Are::Shut });
    accepting.take().into_iter().for_each(Accepting::finish);
    tokio::select! {
        () = leaving::leave(&worker, departure, &under_way) => {}
        () = keep_house_to_the_end(&worker, reader, &mut accepting) => {}
    }
}

/// Accepting tasks by listener; they end when this is dropped.
#[derive(Default)]
struct Accepting(HashMap<u64, Vec<JoinHandle<()>>>);

impl Accepting {
    /// They end by themselves, as the doors say.
    fn finish(mut self) {
        self.0.clear();
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.values().flatten().for_each(JoinHandle::abort);
    }
}

/// Until there will be no more tables; accepts as they say, where it accepts at all.
async fn keep_house(worker: &Rc<Worker>, mut reader: Reader, accepting: &mut Option<Accepting>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        if let Some(accepting) = accepting {
            follow(worker, accepting);
        }
        prune(worker);
        worker.tunnels.follow(&worker.snapshots.load(), Instant::now());
        worker.snapshots.acknowledge();
        tokio::select! {
            more = reader.changed() => if !more { return },
            _ = tick.tick() => {
                worker.tick();
                worker.connections.look_at_idle(worker.now());
                refill(worker);
            }
        }
    }
}

/// As long as it is polled: with the last table where there will be no more.
async fn keep_house_to_the_end(worker: &Rc<Worker>, reader: Reader, accepting: &mut Option<Accepting>) {
    keep_house(worker, reader, accepting).await;
    std::future::pending::<()>().await;
}

/// Accepts at every listener of the table, and at no other.
fn follow(worker: &Rc<Worker>, accepting: &mut Accepting) {
    let table = worker.snapshots.load();
    accepting.0.retain(|id, tasks| {
        let stays = table.listener(*id).is_some();
        if !stays {
            tasks.iter().for_each(JoinHandle::abort);
        }
        stays
    });
    for listener in &table.listeners {
        accepting.0.entry(listener.id).or_insert_with(|| match Doorway::all_of(listener, worker.index) {
            Ok(all) => {
                let accept = |doorway| accept::run(Rc::clone(worker), Arc::clone(listener), doorway);
                all.into_iter().map(|doorway| tokio::task::spawn_local(accept(doorway))).collect()
            }
            Err(error) => {
                tracing::error!(%error, listener = %listener.name, "this listener cannot be used");
                Vec::new()
            }
        });
    }
}

/// Closes idle connections to upstreams that are gone or unhealthy, and those idle for too long.
fn prune(worker: &Worker) {
    let table = worker.snapshots.load();
    let mut idle: HashMap<u64, u64> = HashMap::new();
    for service in &table.services {
        let upstreams = service.groups.iter().flat_map(|g| &g.upstreams);
        for upstream in upstreams.filter(|u| u.live.health() != Health::Unhealthy) {
            idle.insert(upstream.live.pool(), service.timeouts.idle.as_secs().max(1));
        }
    }
    worker.pools.prune(worker.now(), |upstream| idle.get(&upstream).copied());
}

/// A few retries are always allowed.
fn refill(worker: &Worker) {
    for service in &worker.snapshots.load().services {
        service.groups.iter().for_each(|g| g.live.slot(worker.index).retry_tokens.refill());
    }
}
