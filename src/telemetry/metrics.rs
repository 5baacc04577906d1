//! Metrics as Prometheus reads them (OpenMetrics text), written from plain samples.
//!
//! Nothing is kept between scrapes: the counts live elsewhere and are read when somebody asks. It refuses to know
//! where from. No label takes a value from a client.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::model::histogram;
use crate::model::outcome::TunnelEnd;

/// Everything that a scrape shows.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Version of this program.
    pub version: &'static str,
    /// Whether the last reload of the file succeeded.
    pub last_reload_ok: bool,
    /// Every group of every service.
    pub groups: Vec<GroupSample>,
    /// Open connections by listener.
    pub connections: Vec<(String, u64)>,
    /// Services with a limit of requests under way: those that wait for a place, and those that got none.
    pub admissions: Vec<(String, u64, u64)>,
    /// What holds have come to, of each service.
    pub holds: Vec<HoldSample>,
    /// Where the last rollout of each service is that has had one.
    pub rollouts: Vec<(String, &'static str)>,
    /// The names of all states of a rollout.
    pub rollout_states: &'static [&'static str],
    /// Jobs that are kept, by state.
    pub jobs: Vec<(&'static str, u64)>,
    /// Tries at jobs by kind and how they have ended.
    pub job_attempts: Vec<(&'static str, &'static str, u64)>,
    /// Rollbacks by service and cause.
    pub rollbacks: Vec<(String, &'static str, u64)>,
    /// How long switches and rollbacks took.
    pub switch_seconds: Durations,
    /// How long drains took.
    pub drain_seconds: Durations,
}

/// What holds of a service have come to.
#[derive(Clone, Debug, Default)]
pub struct HoldSample {
    /// The service's name.
    pub service: String,
    /// Requests that wait now.
    pub held: u64,
    /// Requests that there was no room for.
    pub refused: u64,
    /// Requests that had waited when the time was over.
    pub expired: u64,
}

/// One group of a service.
#[derive(Clone, Debug, Default)]
pub struct GroupSample {
    /// The service's name.
    pub service: String,
    /// The group's name.
    pub group: String,
    /// Its share in per cent.
    pub share: f64,
    /// Requests under way.
    pub in_flight: u64,
    /// Of these, answers that go on for long.
    pub streams: u64,
    /// Tunnels open.
    pub tunnels: u64,
    /// Retries that its failures caused.
    pub retries: u64,
    /// Attempts of users.
    pub attempts: Judged,
    /// Their WebSocket handshakes.
    pub handshakes: Judged,
    /// Tunnels that have ended, by how.
    pub tunnel_ends: [u64; TunnelEnd::ALL.len()],
    /// Answered requests by status code.
    pub codes: Vec<(u16, u64)>,
    /// How long they took.
    pub durations: Durations,
    /// Its upstreams.
    pub upstreams: Vec<UpstreamSample>,
}

/// What ended well or badly: what verdicts are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// How many.
    pub all: u64,
    /// Those that ended badly.
    pub failed: u64,
}

impl Judged {
    /// By the value of the label `outcome`.
    fn by_outcome(self) -> [(&'static str, u64); 2] {
        [("ok", self.all.saturating_sub(self.failed)), ("failed", self.failed)]
    }
}

/// One upstream of a group.
#[derive(Clone, Debug, Default)]
pub struct UpstreamSample {
    /// Its URL as configured.
    pub url: String,
    /// Whether it is healthy; unknown is not.
    pub healthy: bool,
    /// Finished attempts by outcome.
    pub attempts: Vec<(&'static str, u64)>,
}

/// A histogram of seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// Upper bounds in seconds, rising, and the count within each bucket (not of the ones below).
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all durations in seconds.
    pub sum: f64,
    /// How many.
    pub count: u64,
}

impl Durations {
    /// From the fine buckets of [`histogram`] and the sum of the durations in microseconds: one bucket for each power
    /// of two.
    #[must_use]
    pub fn from_micros(counts: &[u64], micros: u64) -> Self {
        let mut buckets = Vec::new();
        let mut pending = 0;
        for (bucket, count) in counts.iter().enumerate() {
            pending += count;
            let bound = histogram::upper_bound(bucket);
            let whole = bound.is_infinite() || (bound as u64).is_power_of_two();
            if whole {
                buckets.push((bound / 1e6, std::mem::take(&mut pending)));
            }
        }
        Self { buckets, sum: micros as f64 / 1e6, count: counts.iter().sum() }
    }

    /// The buckets with a last one that has no bound.
    fn complete(&self) -> Vec<(f64, u64)> {
        let mut buckets = self.buckets.clone();
        if buckets.last().is_none_or(|(bound, _)| bound.is_finite()) {
            let below: u64 = buckets.iter().map(|(_, count)| count).sum();
            buckets.push((f64::INFINITY, self.count.saturating_sub(below)));
        }
        buckets
    }
}

/// The text of a scrape: OpenMetrics 1.0, which Prometheus reads under its own media type as well.
///
/// # Panics
/// Never: text is written to memory.
#[must_use]
pub fn write(samples: Samples) -> String {
    let mut registry = Registry::with_prefix("pointsman");
    registry.register_collector(Box::new(samples));
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("writing to a string cannot fail");
    out
}

impl Collector for Samples {
    fn encode(&self, encoder: DescriptorEncoder) -> std::fmt::Result {
        let mut out = Writer(encoder);
        self.traffic(&mut out)?;
        self.judged(&mut out)?;
        self.groups(&mut out)?;
        self.upstreams(&mut out)?;
        self.process(&mut out)
    }
}

impl Samples {
    fn traffic(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        let codes = self.groups.iter().flat_map(|g| {
            g.codes.iter().map(|(code, n)| {
                ([("service", g.service.clone()), ("group", g.group.clone()), ("code", code.to_string())], *n)
            })
        });
        out.counters("requests", "Requests answered, by status code", codes)?;
        let durations = self.groups.iter().map(|g| (g.labels(), &g.durations));
        out.histograms("request_duration_seconds", "From a request's head to its response's head", durations)?;
        out.counters(
            "retries",
            "Retries, by the group whose failure caused them",
            self.groups.iter().map(|g| (g.labels(), g.retries)),
        )
    }

    fn judged(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        let by_outcome = |of: fn(&GroupSample) -> Judged| {
            self.groups.iter().flat_map(move |g| {
                of(g).by_outcome().map(|(outcome, n)| {
                    let [service, group] = g.labels();
                    ([service, group, ("outcome", outcome.to_owned())], n)
                })
            })
        };
        let help = "Attempts of users that verdicts count: no validation traffic, no clients that left first";
        out.counters("attempts_counted", help, by_outcome(|g| g.attempts))?;
        let help = "WebSocket handshakes of users that verdicts count; an answer of 3xx or 4xx is not";
        out.counters("handshakes_counted", help, by_outcome(|g| g.handshakes))
    }

    fn groups(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        let all = || self.groups.iter();
        out.gauges("in_flight", "Requests under way", all().map(|g| (g.labels(), g.in_flight as f64)))?;
        let streams = all().map(|g| (g.labels(), g.streams as f64));
        out.gauges("streams", "Answers under way that go on for long: events, large downloads", streams)?;
        out.gauges("tunnels", "Tunnels open", all().map(|g| (g.labels(), g.tunnels as f64)))?;
        let ended = all().flat_map(|g| {
            TunnelEnd::ALL.map(|end| {
                let labels =
                    [("service", g.service.clone()), ("group", g.group.clone()), ("end", end.as_str().to_owned())];
                (labels, g.tunnel_ends[end as usize])
            })
        });
        out.counters(
            "tunnels_ended",
            "Tunnels that have ended: closed by a side, cut, idle for too long, or told to by the proxy",
            ended,
        )?;
        out.gauges("split_share", "Share of the service's traffic, in per cent", all().map(|g| (g.labels(), g.share)))
    }

    fn upstreams(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        let all = || self.groups.iter().flat_map(|g| g.upstreams.iter().map(move |u| (g, u)));
        let attempts = all().flat_map(|(g, u)| {
            u.attempts.iter().map(move |(outcome, n)| {
                let [service, group, upstream] = u.labels(g);
                ([service, group, upstream, ("outcome", (*outcome).to_owned())], *n)
            })
        });
        out.counters("upstream_attempts", "Finished attempts, by outcome", attempts)?;
        let healthy = all().map(|(g, u)| (u.labels(g), f64::from(u8::from(u.healthy))));
        out.gauges("upstream_healthy", "1 where the health check passes, 0 where it fails or is not known", healthy)
    }

    fn holds(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        let all = || self.holds.iter().map(|h| ([("service", h.service.clone())], h));
        let held = all().map(|(labels, h)| (labels, h.held as f64));
        out.gauges("held", "Requests that wait for the end of a hold", held)?;
        let refused = all().map(|(labels, h)| (labels, h.refused));
        out.counters("hold_refused", "Requests that a hold had no room for", refused)?;
        let expired = all().map(|(labels, h)| (labels, h.expired));
        out.counters("hold_expired", "Requests that were held until its time was over", expired)
    }

    fn process(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        let connections = self.connections.iter().map(|(listener, n)| ([("listener", listener.clone())], *n as f64));
        out.gauges("connections", "Client connections open", connections)?;
        let all = || {
            self.admissions.iter().map(|(service, waiting, refused)| ([("service", service.clone())], waiting, refused))
        };
        let waiting = all().map(|(labels, waiting, _)| (labels, *waiting as f64));
        out.gauges("waiting", "Requests that wait for a place among those under way", waiting)?;
        let refused = all().map(|(labels, _, refused)| (labels, *refused));
        out.counters("refused", "Requests that got no place among those under way", refused)?;
        self.holds(out)?;
        self.rollouts(out)?;
        self.jobs(out)?;
        out.histogram("switch_seconds", "Switches and rollbacks, from command to publication", &self.switch_seconds)?;
        out.histogram("drain_seconds", "Drains, from begin to end", &self.drain_seconds)?;
        let reload = f64::from(u8::from(self.last_reload_ok));
        out.gauge("config_last_reload_successful", "Whether the last reload of the file succeeded", reload)?;
        out.gauges("build_info", "This program", std::iter::once(([("version", self.version)], 1.0)))
    }

    fn jobs(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        let states = self.jobs.iter().map(|(state, count)| ([("state", *state)], *count as f64));
        out.gauges("jobs", "Jobs that are kept, by how far they are; dead ones want somebody to look", states)?;
        let attempts =
            self.job_attempts.iter().map(|(kind, outcome, n)| ([("kind", *kind), ("outcome", *outcome)], *n));
        out.counters("job_attempts", "Tries at jobs, by how they have ended", attempts)
    }

    fn rollouts(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        let states = self.rollouts.iter().flat_map(|(service, state)| {
            self.rollout_states.iter().map(move |each| {
                let labels = [("service", service.clone()), ("state", (*each).to_owned())];
                (labels, f64::from(u8::from(each == state)))
            })
        });
        out.gauges("rollout_state", "1 for the state that a service's last rollout is in, 0 for all others", states)?;
        let rollbacks = self
            .rollbacks
            .iter()
            .map(|(service, cause, n)| ([("service", service.clone()), ("cause", (*cause).to_owned())], *n));
        out.counters("rollbacks", "Rollbacks, by who or what caused them", rollbacks)
    }
}

impl GroupSample {
    fn labels(&self) -> [(&'static str, String); 2] {
        [("service", self.service.clone()), ("group", self.group.clone())]
    }
}

impl UpstreamSample {
    fn labels(&self, group: &GroupSample) -> [(&'static str, String); 3] {
        [("service", group.service.clone()), ("group", group.group.clone()), ("upstream", self.url.clone())]
    }
}

/// Writes one family after another.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, u64)>,
    ) -> std::fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, f64)>,
    ) -> std::fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> std::fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn histogram(&mut self, name: &str, help: &str, durations: &Durations) -> std::fmt::Result {
        let Durations { sum, count, .. } = *durations;
        let mut one = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        one.encode_histogram::<NoLabelSet>(sum, count, &durations.complete(), None)
    }

    fn histograms<'d, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, &'d Durations)>,
    ) -> std::fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, durations) in values {
            let Durations { sum, count, .. } = *durations;
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &durations.complete(), None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Samples {
        let mut counts = vec![0; histogram::BUCKETS];
        for micros in [10, 20, 1500, 1500, 200_000_000] {
            counts[histogram::bucket(micros)] += 1;
        }
        let upstream = UpstreamSample {
            url: "http://127.0.0.1:9001".into(),
            healthy: true,
            attempts: vec![("ok", 5), ("broken", 0)],
        };
        let group = GroupSample {
            service: "shop".into(),
            group: "blue".into(),
            share: 87.5,
            in_flight: 3,
            streams: 1,
            tunnels: 2,
            retries: 1,
            attempts: Judged { all: 9, failed: 2 },
            handshakes: Judged { all: 3, failed: 1 },
            tunnel_ends: [4, 1, 0, 2],
            codes: vec![(200, 4), (502, 1)],
            durations: Durations::from_micros(&counts, 200_003_030),
            upstreams: vec![upstream],
        };
        Samples {
            version: "0.1.0",
            last_reload_ok: true,
            groups: vec![group],
            connections: vec![("web".into(), 7)],
            admissions: vec![("shop".into(), 4, 9)],
            holds: vec![HoldSample { service: "shop".into(), held: 6, refused: 7, expired: 8 }],
            rollouts: vec![("shop".into(), "baking")],
            rollout_states: &["shifting", "baking"],
            jobs: vec![("waiting", 3), ("dead", 1)],
            job_attempts: vec![("notify", "failed", 7)],
            rollbacks: vec![("shop".into(), "operator", 2)],
            switch_seconds: Durations { buckets: vec![(0.001, 1), (0.01, 2)], sum: 5.0, count: 4 },
            drain_seconds: Durations { buckets: vec![(1.0, 1), (5.0, 2)], sum: 9.0, count: 3 },
        }
    }

    #[test]
    fn every_metric_has_its_name_labels_and_value() {
        let text = write(samples());
        for line in [
            r#"pointsman_requests_total{service="shop",group="blue",code="200"} 4"#,
            r#"pointsman_requests_total{service="shop",group="blue",code="502"} 1"#,
            r#"pointsman_request_duration_seconds_count{service="shop",group="blue"} 5"#,
            r#"pointsman_request_duration_seconds_sum{service="shop",group="blue"} 200.00303"#,
            r#"pointsman_request_duration_seconds_bucket{le="0.002048",service="shop",group="blue"} 4"#,
            r#"pointsman_request_duration_seconds_bucket{le="+Inf",service="shop",group="blue"} 5"#,
            r#"pointsman_upstream_attempts_total{service="shop",group="blue",upstream="http://127.0.0.1:9001",outcome="ok"} 5"#,
            r#"pointsman_retries_total{service="shop",group="blue"} 1"#,
            r#"pointsman_attempts_counted_total{service="shop",group="blue",outcome="ok"} 7"#,
            r#"pointsman_attempts_counted_total{service="shop",group="blue",outcome="failed"} 2"#,
            r#"pointsman_handshakes_counted_total{service="shop",group="blue",outcome="ok"} 2"#,
            r#"pointsman_handshakes_counted_total{service="shop",group="blue",outcome="failed"} 1"#,
            r#"pointsman_tunnels_ended_total{service="shop",group="blue",end="closed"} 4"#,
            r#"pointsman_in_flight{service="shop",group="blue"} 3.0"#,
            r#"pointsman_streams{service="shop",group="blue"} 1.0"#,
            r#"pointsman_tunnels_ended_total{service="shop",group="blue",end="told"} 2"#,
            r#"pointsman_tunnels{service="shop",group="blue"} 2.0"#,
            "pointsman_drain_seconds_count 3",
            r#"pointsman_connections{listener="web"} 7.0"#,
            r#"pointsman_split_share{service="shop",group="blue"} 87.5"#,
            r#"pointsman_upstream_healthy{service="shop",group="blue",upstream="http://127.0.0.1:9001"} 1.0"#,
            r#"pointsman_waiting{service="shop"} 4.0"#,
            r#"pointsman_refused_total{service="shop"} 9"#,
            r#"pointsman_held{service="shop"} 6.0"#,
            r#"pointsman_hold_refused_total{service="shop"} 7"#,
            r#"pointsman_hold_expired_total{service="shop"} 8"#,
            r#"pointsman_rollout_state{service="shop",state="shifting"} 0.0"#,
            r#"pointsman_rollout_state{service="shop",state="baking"} 1.0"#,
            r#"pointsman_rollbacks_total{service="shop",cause="operator"} 2"#,
            r#"pointsman_jobs{state="dead"} 1.0"#,
            r#"pointsman_job_attempts_total{kind="notify",outcome="failed"} 7"#,
            r#"pointsman_switch_seconds_bucket{le="0.01"} 3"#,
            r#"pointsman_switch_seconds_bucket{le="+Inf"} 4"#,
            "pointsman_switch_seconds_count 4",
            "pointsman_switch_seconds_sum 5.0",
            "pointsman_config_last_reload_successful 1.0",
            r#"pointsman_build_info{version="0.1.0"} 1.0"#,
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn buckets_end_at_powers_of_two_and_hold_every_duration_once() {
        let durations = samples().groups.remove(0).durations;
        assert_eq!(durations.buckets.len(), 25);
        assert_eq!(durations.buckets.iter().map(|(_, n)| n).sum::<u64>(), durations.count);
        for (bound, _) in &durations.buckets[..24] {
            let micros = (bound * 1e6).round() as u64;
            assert!(micros.is_power_of_two(), "{bound}");
        }
        assert!(durations.buckets[24].0.is_infinite());
    }

    #[test]
    fn a_scrape_before_anything_happened_is_complete() {
        let text = write(Samples::default());
        assert!(text.contains("pointsman_switch_seconds_bucket{le=\"+Inf\"} 0") && text.ends_with("# EOF\n"), "{text}");
    }
}
