//! Figures of the last minute, by group: the difference of two sums, the older of them taken each second.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::view::Window;
use crate::model::histogram;
use crate::model::names::{GroupName, ServiceName};
use crate::routing::live::{GroupLive, GroupTotals};
use crate::routing::publish::Reader;

/// How far back figures reach.
const LENGTH: Duration = Duration::from_secs(60);

/// From one sample to the next.
const STEP: Duration = Duration::from_secs(1);

/// Sums of the last minute, of every group.
#[derive(Debug, Default)]
pub(super) struct Windows(Mutex<HashMap<(ServiceName, GroupName), Samples>>);

/// Sums of the last minute, oldest first, and whose they are.
#[derive(Debug)]
struct Samples {
    of: Arc<GroupLive>,
    sums: VecDeque<(Instant, GroupTotals)>,
}

impl Windows {
    /// Takes a sample of each group of the published table, each second, until dropped.
    pub(super) async fn sample(self: Arc<Self>, reader: Reader) {
        let mut tick = interval(STEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = tick.tick().await;
            let table = reader.current();
            let groups = table.services.iter().flat_map(|s| s.groups.iter().map(|g| (s.name.clone(), g)));
            self.take(now, groups.map(|(service, g)| ((service, g.name.clone()), Arc::clone(&g.live))));
        }
    }

    fn take(&self, now: Instant, groups: impl Iterator<Item = ((ServiceName, GroupName), Arc<GroupLive>)>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = HashMap::with_capacity(all.len());
        for (key, live) in groups {
            // A group that was away and is back counts anew.
            let before = all.remove(&key).filter(|samples| Arc::ptr_eq(&samples.of, &live));
            let mut samples = before.unwrap_or_else(|| Samples { of: Arc::clone(&live), sums: VecDeque::new() });
            samples.sums.push_back((now, live.totals()));
            while samples.sums.front().is_some_and(|(at, _)| now.duration_since(*at) > LENGTH) {
                samples.sums.pop_front();
            }
            next.insert(key, samples);
        }
        *all = next;
    }

    /// A group's figures up to now, where `totals` are its sums now.
    pub(super) fn of(&self, service: &ServiceName, group: &GroupName, totals: &GroupTotals) -> Window {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = all.get(&(service.clone(), group.clone())).and_then(|samples| samples.sums.front());
        oldest.map(|(at, before)| figures(before, totals, at.elapsed())).unwrap_or_default()
    }
}

fn figures(before: &GroupTotals, now: &GroupTotals, elapsed: Duration) -> Window {
    let sum = |totals: &GroupTotals| totals.codes.iter().map(|(_, n)| n).sum::<u64>();
    let requests = sum(now).saturating_sub(sum(before));
    let attempts = now.attempts.saturating_sub(before.attempts);
    let errors = now.failures.saturating_sub(before.failures);
    let counts: Vec<u64> = (0..now.durations.len())
        .map(|i| now.durations[i].saturating_sub(before.durations.get(i).copied().unwrap_or(0)))
        .collect();
    let quantile = |q| histogram::quantile(&counts, q).map(|micros| micros / 1000.0);
    let some = requests > 0;
    Window {
        seconds: elapsed.as_secs_f64().round().max(1.0) as u64,
        requests,
        errors,
        rps: requests as f64 / elapsed.as_secs_f64().max(1.0),
        error_rate: if attempts > 0 { errors as f64 / attempts as f64 } else { 0.0 },
        mean_ms: some.then(|| now.micros.saturating_sub(before.micros) as f64 / requests as f64 / 1000.0),
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::Outcome;

    fn key() -> (ServiceName, GroupName) {
        (ServiceName::new("shop").unwrap(), GroupName::new("blue").unwrap())
    }

    fn take(windows: &Windows, live: &Arc<GroupLive>) {
        windows.take(Instant::now(), std::iter::once((key(), Arc::clone(live))));
    }

    fn of(windows: &Windows, live: &GroupLive) -> Window {
        windows.of(&key().0, &key().1, &live.totals())
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_last_minute_counts_and_it_is_shorter_after_a_start() {
        let (windows, live) = (Windows::default(), Arc::new(GroupLive::new(1)));
        assert_eq!(of(&windows, &live), Window::default());
        live.slot(0).answered(200, 1_000_000);
        for second in 0..100 {
            take(&windows, &live);
            tokio::time::advance(STEP).await;
            (0..2).for_each(|_| live.slot(0).answered(200, 10_000));
            if second == 9 {
                let window = of(&windows, &live);
                assert_eq!((window.seconds, window.requests), (10, 20));
            }
        }
        live.slot(0).tally.ended(Outcome::ServerError);
        (0..3).for_each(|_| live.slot(0).tally.ended(Outcome::Ok));
        let window = of(&windows, &live);
        assert!((60..=61).contains(&window.seconds), "{window:?}");
        assert_eq!(window.requests, 2 * window.seconds);
        assert!((window.rps - 2.0).abs() < 0.05 && (window.mean_ms.unwrap() - 10.0).abs() < 0.001, "{window:?}");
        assert!((window.p99_ms.unwrap() / 10.0 - 1.0).abs() < 0.07, "{window:?}");
        assert_eq!((window.errors, window.error_rate), (1, 0.25));
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_that_is_back_under_its_old_name_counts_anew() {
        let (windows, old) = (Windows::default(), Arc::new(GroupLive::new(1)));
        old.slot(0).answered(200, 1000);
        take(&windows, &old);
        let new = Arc::new(GroupLive::new(1));
        take(&windows, &new);
        tokio::time::advance(STEP).await;
        new.slot(0).answered(200, 1000);
        assert_eq!(of(&windows, &new).requests, 1);
    }
}
