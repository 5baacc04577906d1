//! What is known of a drain: counts of the data plane, the hook's last word, how it ended.

use jiff::Timestamp;

use super::DrainKey;
use crate::control::running::Shared;
use crate::control::view::DrainView;
use crate::model::drain::{Drain, Part};
use crate::model::names::ServiceName;
use crate::routing::table::{Service, Table};

/// What is under way at a part of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) in_flight: u64,
    pub(super) streams: u64,
    pub(super) tunnels: u64,
    /// Seconds since 1970 of the last request's begin; 0: there was none.
    last_request: u64,
}

impl Counts {
    /// None when the part is not in the table (any more).
    pub(super) fn of(table: &Table, service: &ServiceName, part: &Part) -> Option<Self> {
        Self::at(table.service(service.as_str())?, part)
    }

    fn at(service: &Service, part: &Part) -> Option<Self> {
        let group = &service.groups[service.group_index(part.group.as_str())?];
        let Some(url) = &part.upstream else {
            let live = &group.live;
            return Some(Self {
                in_flight: live.in_flight(),
                streams: live.streams(),
                tunnels: live.tunnels(),
                last_request: live.last_request(),
            });
        };
        let live = &group.upstreams.iter().find(|u| u.live.endpoint.url == *url)?.live;
        let (in_flight, tunnels, last_request) = (live.in_flight(), live.tunnels(), live.last_request());
        Some(Self { in_flight, streams: 0, tunnels, last_request })
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.in_flight == 0 && self.tunnels == 0
    }
}

/// A drain of `service`, under way or ended.
pub(in crate::control) fn view(shared: &Shared, service: &Service, part: &Part, drain: &Drain) -> DrainView {
    let counts = Counts::at(service, part).unwrap_or_default();
    let key = DrainKey { service: service.name.clone(), part: part.clone(), began: drain.began };
    DrainView {
        service: service.name.clone(),
        part: part.clone(),
        drain: drain.clone(),
        in_flight: counts.in_flight,
        streams: counts.streams,
        tunnels: counts.tunnels,
        last_request: i64::try_from(counts.last_request)
            .ok()
            .filter(|s| *s > 0)
            .and_then(|s| Timestamp::from_second(s).ok()),
        hook: shared.drains.of(&key),
    }
}
