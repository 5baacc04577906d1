//! The tunnels of a worker: where each leads, and whether it was told to end.
//!
//! Written by the worker's housekeeping and by the tunnels themselves, on one thread. A tunnel is told once, with a
//! moment of its own, so that a thousand clients do not come back all at once; until its moment it can be taken back.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use crate::config::spec::TunnelClose;
use crate::routing::publish::Snapshot;
use crate::routing::table::{Group, Service, Table, Upstream};

/// On the way down the last tunnel is told so long before the deadline: its message ends, and the sides answer. Peers who
/// take longer for that are cut at the deadline ([`crate::routing::table::Farewell::LONGEST_END`] is the worst case): all
/// others are not to go earlier for their sake.
const LEAD: Duration = Duration::from_secs(3);

type Open = HashMap<u64, Rc<Notice>, foldhash::fast::RandomState>;

/// The open tunnels of a worker.
#[derive(Debug)]
pub(super) struct Tunnels {
    worker: usize,
    open: Rc<RefCell<Open>>,
    next: Cell<u64>,
    /// When the process ends; none while it goes on.
    deadline: Cell<Option<Instant>>,
}

/// Where a tunnel leads, by the newest table that has it.
#[derive(Debug)]
pub(super) struct Berth {
    pub(super) snapshot: Snapshot,
    pub(super) service: usize,
    pub(super) group: usize,
    pub(super) upstream: usize,
}

/// What a tunnel was told.
#[derive(Debug)]
pub(super) struct Notice {
    worker: usize,
    berth: RefCell<Berth>,
    /// The generation of the table that it was last looked at with.
    judged: Cell<u64>,
    told: Cell<Option<Told>>,
    waker: RefCell<Option<Waker>>,
}

/// That a tunnel has to end.
#[derive(Clone, Copy, Debug)]
struct Told {
    why: Why,
    moment: Instant,
    code: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Its group or upstream was drained, and the deadline has come.
    Farewell,
    /// Its upstream is no longer in the table.
    Removed,
    /// The process ends. Never taken back.
    Exit,
}

/// A tunnel counts at its upstream, and is known to its worker, while this lives.
#[derive(Debug)]
pub(super) struct Enrolled {
    open: Rc<RefCell<Open>>,
    key: u64,
    notice: Rc<Notice>,
}

impl Tunnels {
    /// Those of the worker with this index: none yet.
    pub(super) fn new(worker: usize) -> Self {
        Self { worker, open: Rc::default(), next: Cell::new(0), deadline: Cell::new(None) }
    }

    /// A tunnel opens.
    pub(super) fn add(&self, berth: Berth) -> Enrolled {
        berth.upstream().live.slot(self.worker).tunnels.enter();
        let key = self.next.get();
        self.next.set(key + 1);
        let notice = Rc::new(Notice {
            worker: self.worker,
            berth: berth.into(),
            // Older than any table: it may have been chosen by one that has been replaced since.
            judged: Cell::new(0),
            told: Cell::new(None),
            waker: RefCell::new(None),
        });
        if let Some(deadline) = self.deadline.get() {
            notice.exit(deadline, Instant::now());
        }
        self.open.borrow_mut().insert(key, Rc::clone(&notice));
        Enrolled { open: Rc::clone(&self.open), key, notice }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Tells each what this table means for it. Those that were told by the same table before are passed over.
    pub(super) fn follow(&self, table: &Snapshot, now: Instant) {
        let mut homes = None;
        for notice in self.open.borrow().values().filter(|n| n.judged.get() != table.generation) {
            notice.judge(table, homes.get_or_insert_with(|| Homes::of(table)), now);
        }
    }

    /// Tells all that are open, and those that will yet open, that the process ends at `deadline`: each at a moment
    /// of its own, the last one so long before that there is time for its end.
    pub(super) fn say_farewell_before(&self, deadline: Instant) {
        self.deadline.set(Some(deadline));
        let now = Instant::now();
        self.open.borrow().values().for_each(|notice| notice.exit(deadline, now));
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        self.open.borrow_mut().remove(&self.key);
        self.notice.berth.borrow().upstream().live.slot(self.notice.worker).tunnels.leave();
    }
}

impl Enrolled {
    pub(super) fn notice(&self) -> &Notice {
        &self.notice
    }
}

/// Where each upstream of a table is, by its id.
struct Homes(HashMap<u64, [usize; 3], foldhash::fast::RandomState>);

impl Homes {
    fn of(table: &Table) -> Self {
        let services = table.services.iter().enumerate();
        let groups =
            services.flat_map(|(s, service)| service.groups.iter().enumerate().map(move |(g, group)| (s, g, group)));
        let upstreams = groups.flat_map(|(s, g, group)| {
            group.upstreams.iter().enumerate().map(move |(u, upstream)| (upstream.live.id, [s, g, u]))
        });
        Self(upstreams.collect())
    }
}

impl Berth {
    fn service(&self) -> &Service {
        &self.snapshot.services[self.service]
    }

    fn group(&self) -> &Group {
        &self.service().groups[self.group]
    }

    fn upstream(&self) -> &Upstream {
        &self.group().upstreams[self.upstream]
    }

    /// The same upstream in another table: what was removed and has come back has another id, but is in the same place.
    fn found_in(&self, table: &Snapshot, homes: &Homes) -> Option<Self> {
        let [service, group, upstream] = homes.0.get(&self.upstream().live.id).copied().or_else(|| {
            let service = table.services.iter().position(|s| s.name == self.service().name)?;
            // A group that was gone in between has counts of its own, where this tunnel is not.
            let same = |g: &Group| g.name == self.group().name && Arc::ptr_eq(&g.live, &self.group().live);
            let group = table.services[service].groups.iter().position(same)?;
            let endpoint = &self.upstream().live.endpoint;
            let upstreams = &table.services[service].groups[group].upstreams;
            Some([service, group, upstreams.iter().position(|u| u.live.endpoint == *endpoint)?])
        })?;
        Some(Self { snapshot: Rc::clone(table), service, group, upstream })
    }
}

impl Notice {
    /// The task to wake when there is something to tell: a tunnel's stays the same for its life.
    pub(super) fn listen(&self, cx: &Context<'_>) {
        *self.waker.borrow_mut() = Some(cx.waker().clone());
    }

    /// When the tunnel has to end; none: it may stay.
    pub(super) fn moment(&self) -> Option<Instant> {
        self.told.get().map(|told| told.moment)
    }

    /// The code to close with.
    pub(super) fn code(&self) -> u16 {
        self.told.get().map_or(TunnelClose::default().code, |told| told.code)
    }

    fn judge(&self, table: &Snapshot, homes: &Homes, now: Instant) {
        self.judged.set(table.generation);
        let found = self.berth.borrow().found_in(table, homes);
        let Some(berth) = found else {
            let Service { tunnel_close, drain_timeout, .. } = *self.berth.borrow().service();
            return self.tell(Why::Removed, tunnel_close, now + drain_timeout);
        };
        self.move_to(berth);
        let berth = self.berth.borrow();
        match berth.group().farewell.as_ref().filter(|f| f.is_for(berth.upstream().live.id)) {
            Some(farewell) => {
                let close = TunnelClose { code: farewell.close_code, spread: farewell.spread };
                self.tell(Why::Farewell, close, now);
            }
            None => self.take_back(),
        }
    }

    /// It counts where it leads: an upstream that has come back has counts of its own.
    fn move_to(&self, berth: Berth) {
        let left = self.berth.replace(berth);
        let berth = self.berth.borrow();
        let (before, now) = (&left.upstream().live, &berth.upstream().live);
        if before.id != now.id {
            now.slot(self.worker).tunnels.enter();
            before.slot(self.worker).tunnels.leave();
        }
    }

    /// Draws the moment, between `from` and the end of the spread, unless it was drawn for the same reason before.
    fn tell(&self, why: Why, close: TunnelClose, from: Instant) {
        if self.told.get().is_none_or(|told| told.why != why && told.why != Why::Exit) {
            let moment = from + close.spread.mul_f64(fastrand::f64());
            self.told.set(Some(Told { why, moment, code: close.code }));
            self.wake();
        }
    }

    /// The process ends at `deadline`. Whoever was told already does not get more time than before.
    fn exit(&self, deadline: Instant, now: Instant) {
        let close = self.berth.borrow().service().tunnel_close;
        let left = deadline.saturating_duration_since(now).saturating_sub(LEAD);
        let spread = close.spread.min(left);
        let before = self.told.get();
        self.tell(Why::Exit, TunnelClose { spread, ..close }, now + left.saturating_sub(spread));
        if let (Some(before), Some(told)) = (before, self.told.get())
            && before.moment < told.moment
        {
            self.told.set(Some(Told { why: Why::Exit, ..before }));
        }
    }

    fn take_back(&self) {
        if self.told.get().is_some_and(|told| told.why != Why::Exit) {
            self.told.set(None);
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::samples;
    use crate::routing::live::{GroupLive, UpstreamLive};
    use crate::routing::table::Farewell;

    const SPREAD: Duration = Duration::from_secs(100);

    /// A service of one group, from one table to the next.
    struct House {
        tunnels: Tunnels,
        group: Arc<GroupLive>,
        upstreams: Vec<Arc<UpstreamLive>>,
        generation: u64,
        farewell: Option<Farewell>,
    }

    impl House {
        fn new() -> Self {
            let upstream = |id: u64| samples::upstream(id, format!("127.0.0.1:{id}").parse().unwrap());
            let upstreams = vec![upstream(1), upstream(2)];
            let group = Arc::new(GroupLive::new(1));
            Self { tunnels: Tunnels::new(0), group, upstreams, generation: 0, farewell: None }
        }

        /// A further table.
        fn table(&mut self) -> Snapshot {
            self.generation += 1;
            let mut service = samples::service(&self.group, &self.upstreams, SPREAD);
            service.groups[0].farewell = self.farewell.clone();
            let mut table = samples::table(service);
            table.generation = self.generation;
            Rc::new(Arc::new(table))
        }

        fn follow(&mut self, now: Instant) {
            let table = self.table();
            self.tunnels.follow(&table, now);
        }

        fn tunnel(&mut self, upstream: usize) -> Enrolled {
            let snapshot = self.table();
            self.tunnels.add(Berth { snapshot, service: 0, group: 0, upstream })
        }

        fn bid_farewell(&mut self, upstreams: Option<Vec<u64>>) {
            self.farewell = Some(Farewell { close_code: 4000, spread: SPREAD, upstreams });
        }
    }

    #[test]
    fn each_is_told_once_with_a_moment_of_its_own_within_the_spread() {
        let (mut house, now) = (House::new(), Instant::now());
        let open: Vec<_> = (0..100).map(|_| house.tunnel(0)).collect();
        let moments = || open.iter().map(|t| t.notice().moment()).collect::<Option<Vec<_>>>();
        house.follow(now);
        assert!(open.iter().all(|t| t.notice().moment().is_none()));
        house.bid_farewell(None);
        house.follow(now);
        let first = moments().unwrap();
        assert!(first.iter().all(|at| *at >= now && *at <= now + SPREAD) && open[0].notice().code() == 4000);
        let early = first.iter().filter(|at| **at < now + SPREAD / 2).count();
        assert!((20..80).contains(&early), "{early} of 100 in the first half");
        house.follow(now + SPREAD);
        assert_eq!(moments().unwrap(), first, "a further table draws no other moments");
    }

    #[test]
    fn a_farewell_that_disappears_is_taken_back_and_a_new_one_draws_anew() {
        let (mut house, now) = (House::new(), Instant::now());
        let (meant, other) = (house.tunnel(0), house.tunnel(1));
        house.bid_farewell(Some(vec![1]));
        house.follow(now);
        assert!(meant.notice().moment().is_some() && other.notice().moment().is_none());
        house.farewell = None;
        house.follow(now);
        assert_eq!(meant.notice().moment(), None);
        house.bid_farewell(None);
        let later = now + 2 * SPREAD;
        house.follow(later);
        assert!(meant.notice().moment() >= Some(later) && other.notice().moment() >= Some(later));
    }

    #[test]
    fn one_that_opens_by_an_older_table_is_told_at_the_next_look() {
        let (mut house, now) = (House::new(), Instant::now());
        let old = house.table();
        house.bid_farewell(None);
        let table = house.table();
        house.tunnels.follow(&table, now);
        let late = house.tunnels.add(Berth { snapshot: old, service: 0, group: 0, upstream: 0 });
        assert_eq!(late.notice().moment(), None);
        house.tunnels.follow(&table, now);
        assert!(late.notice().moment() >= Some(now));
    }

    #[test]
    fn one_whose_upstream_is_gone_has_the_time_of_a_drain_and_stays_where_it_comes_back() {
        let (mut house, now) = (House::new(), Instant::now());
        let (gone, stays) = (house.tunnel(0), house.tunnel(1));
        let removed = house.upstreams.remove(0);
        house.follow(now);
        // The timeout of the samples.
        let after = now + Duration::from_secs(30);
        let moment = gone.notice().moment().unwrap();
        assert!(moment >= after && moment <= after + SPREAD && gone.notice().code() == 1012);
        assert_eq!(stays.notice().moment(), None);
        house.follow(now + SPREAD);
        assert_eq!(gone.notice().moment(), Some(moment), "a further table gives no further time");
        // It comes back as another one at the same place, and behind the other.
        let again = samples::upstream(3, "127.0.0.1:1".parse().unwrap());
        house.upstreams.push(Arc::clone(&again));
        house.follow(now);
        assert_eq!(gone.notice().moment(), None);
        assert_eq!((removed.tunnels(), again.tunnels()), (0, 1), "it counts where it leads");
        house.bid_farewell(Some(vec![3]));
        house.follow(now);
        assert!(gone.notice().moment().is_some() && stays.notice().moment().is_none());
        drop(gone);
        assert_eq!((again.tunnels(), house.upstreams[0].tunnels()), (0, 1));
    }

    #[test]
    fn before_the_end_of_the_process_all_are_told_in_time_and_nothing_takes_that_back() {
        for (left, spread) in [(200, 100), (50, 47), (2, 0)] {
            let mut house = House::new();
            let open: Vec<_> = (0..50).map(|_| house.tunnel(0)).collect();
            let deadline = Instant::now() + Duration::from_secs(left);
            house.tunnels.say_farewell_before(deadline);
            let last = deadline.checked_sub(LEAD).unwrap().max(Instant::now());
            let first = deadline.checked_sub(LEAD + Duration::from_secs(spread)).unwrap();
            let late = house.tunnel(0);
            house.follow(Instant::now());
            for tunnel in open.iter().chain([&late]) {
                let moment = tunnel.notice().moment().unwrap();
                assert!(moment <= last.max(Instant::now()), "{left}");
                assert!(left == 2 || moment >= first, "{left}");
            }
        }
        let mut house = House::new();
        let told = house.tunnel(0);
        house.bid_farewell(None);
        house.follow(Instant::now());
        let before = told.notice().moment();
        house.tunnels.say_farewell_before(Instant::now() + 100 * SPREAD);
        assert_eq!(told.notice().moment(), before, "whoever was told already gets no more time");
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let mut house = House::new();
        let (first, second) = (house.tunnel(0), house.tunnel(0));
        assert_eq!(house.upstreams[0].tunnels(), 2);
        drop(first);
        assert!(!house.tunnels.is_empty() && house.upstreams[0].tunnels() == 1);
        drop(second);
        assert!(house.tunnels.is_empty() && house.upstreams[0].tunnels() == 0);
    }
}
