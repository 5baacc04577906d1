//! What can be seen from outside: plain values, gathered when somebody asks.

use jiff::Timestamp;

pub use super::rollouts::{Consequence, DrillRun, DrillView, DrilledGuard, Fault, Undrilled};
use crate::model::drain::{Drain, Part};
use crate::model::names::{GroupName, ListenerName, ServiceName};
pub use crate::model::rollout::{Entry, Figure, Rollout, RolloutId, State as RolloutState};
use crate::model::split::Split;
use crate::model::verdict;
use crate::routing::live::{GroupTotals, Health};

/// A service and all that goes on in it.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// Its name.
    pub name: ServiceName,
    /// Version of the desired state at its last change.
    pub version: u64,
    /// Shares now.
    pub split: Split,
    /// Where a rollback goes.
    pub stable_split: Split,
    /// The group with the largest share.
    pub live: GroupName,
    /// The group that may come next.
    pub candidate: Option<GroupName>,
    /// Groups in the order of their names.
    pub groups: Vec<GroupView>,
    /// The file's split where it is kept back.
    pub pending_file_split: Option<Split>,
    /// New requests wait.
    pub hold: Option<HoldView>,
    /// The rollout under way.
    pub rollout: Option<RolloutView>,
}

/// A rollout, and what its guards say.
#[derive(Clone, Debug)]
pub struct RolloutView {
    /// Where it is, how it came there and how it is to go on.
    pub rollout: Rollout,
    /// What is thought of the candidate, by service; none when nobody has judged it yet, or not any more.
    pub verdict: Option<VerdictView>,
    /// How long it has been busy with what it is busy with, in seconds, pauses left out.
    pub spent: Option<f64>,
    /// How its drains have ended or are getting on.
    pub drains: Vec<DrainView>,
}

/// What is thought of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictView {
    /// Fail when any guard of any service has failed; pass when all have passed.
    pub status: verdict::Status,
    /// One row for each guard of each service.
    pub rows: Vec<(ServiceName, verdict::Row)>,
}

/// A hold under way.
#[derive(Clone, Debug, PartialEq)]
pub struct HoldView {
    /// When it began.
    pub since: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Who has begun it.
    pub actor: String,
    /// Where a switch goes as soon as nothing is under way any more; none: somebody lets go.
    pub to: Option<GroupName>,
    /// Requests that wait.
    pub waiting: u32,
    /// The most that have waited at a time.
    pub most: u32,
    /// Bytes that have come of those that wait.
    pub bytes: u64,
    /// Requests that there was no room for.
    pub refused: u64,
}

/// What holds of a service have come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldCounts {
    /// The service's name.
    pub service: ServiceName,
    /// Requests that wait now.
    pub held: u64,
    /// Requests that there was no room for, so far.
    pub refused: u64,
    /// Requests that had waited when the time was over, so far.
    pub expired: u64,
}

/// A group and all that goes on in it.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Its name.
    pub name: GroupName,
    /// Requests under way.
    pub in_flight: u64,
    /// Of these, answers that go on for long: Server-Sent Events, large downloads.
    pub streams: u64,
    /// Tunnels open.
    pub tunnels: u64,
    /// The drain that keeps users away, under way or ended.
    pub drain: Option<DrainView>,
    /// Its upstreams in the order of the file.
    pub upstreams: Vec<UpstreamView>,
    /// Figures of the last seconds.
    pub window: Window,
    /// Counts since the group exists.
    pub totals: GroupTotals,
}

/// An upstream and what is known of it.
#[derive(Clone, Debug)]
pub struct UpstreamView {
    /// As configured.
    pub url: String,
    /// The prober's verdict.
    pub health: Health,
    /// Attempts under way.
    pub in_flight: u64,
    /// The drain that keeps users away, under way or ended.
    pub drain: Option<DrainView>,
    /// The last probe.
    pub last_check: Option<CheckView>,
    /// Finished attempts by outcome, in the order of `Outcome::ALL`.
    pub attempts: Vec<u64>,
}

/// A drain, and the facts about what is drained.
#[derive(Clone, Debug)]
pub struct DrainView {
    /// The service.
    pub service: ServiceName,
    /// The group, or one of its upstreams.
    pub part: Part,
    /// What is wanted, and how it ended.
    pub drain: Drain,
    /// Requests under way.
    pub in_flight: u64,
    /// Of these, answers that go on for long.
    pub streams: u64,
    /// Tunnels open.
    pub tunnels: u64,
    /// When the last request came, right to the second; none since the process began.
    pub last_request: Option<Timestamp>,
    /// What the application's hook has said last, where there is one.
    pub hook: Option<HookView>,
}

/// What an application's hook has said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookView {
    /// How far it is.
    pub state: HookState,
    /// What is not as expected, for people; empty where there is nothing to say.
    pub detail: String,
    /// What its last answer had at the paths that are looked at: an object by path.
    pub answer: Option<serde_json::Value>,
}

/// How far an application's hook is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookState {
    /// It has not been started yet.
    Starting,
    /// It was started, and is asked whether it has finished.
    Polling,
    /// It has finished.
    Done,
    /// It was told that the drain is off.
    Cancelled,
}

impl HookState {
    /// Its name in the API.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Polling => "polling",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The result of one probe.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckView {
    /// When it ended.
    pub at: Timestamp,
    /// Whether the answer was as expected.
    pub ok: bool,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// How long it took.
    pub ms: f64,
    /// What was wrong, with address, status, Location and the first bytes of the body; empty when ok.
    pub why: String,
}

/// Figures over the last `seconds`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Length; shorter after a start.
    pub seconds: u64,
    /// Requests answered.
    pub requests: u64,
    /// Failed attempts.
    pub errors: u64,
    /// Requests a second.
    pub rps: f64,
    /// Errors by requests, 0 to 1; 0 without requests.
    pub error_rate: f64,
    /// Mean duration in ms; none without requests.
    pub mean_ms: Option<f64>,
    /// Median in ms.
    pub p50_ms: Option<f64>,
    /// 95th percentile in ms.
    pub p95_ms: Option<f64>,
    /// 99th percentile in ms.
    pub p99_ms: Option<f64>,
}

/// A listener and what goes on at it.
#[derive(Clone, Debug)]
pub struct ListenerView {
    /// Its name.
    pub name: ListenerName,
    /// The address in use: `127.0.0.1:8080`, `unix:/run/x.sock`.
    pub address: String,
    /// Connections open.
    pub connections: u64,
}

/// A service that takes so many requests at a time, and how that goes.
#[derive(Clone, Debug)]
pub struct AdmissionView {
    /// The service's name.
    pub service: ServiceName,
    /// Requests that wait for a place.
    pub waiting: u64,
    /// Requests that got none, since the limit is what it is.
    pub refused: u64,
}

/// A line of the audit log. Lines are only ever added.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Sequence number, from 1, without gaps.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Who: name of a token, `local`, `file`, `pointsman` itself.
    pub actor: String,
    /// What: `switch`, `split`, `rollback`, `drain`, `reload`, `upgrade`, `hold`, `release`, `hold.expired`, `health`,
    /// `start`, `stop`; with `.refused` behind it where it
    /// was asked for and not done.
    pub kind: String,
    /// Which service, where it is about one.
    pub service: Option<String>,
    /// Details: an object, keys by kind (`before`, `after`, `reason`, `errors`…).
    pub detail: serde_json::Value,
}

/// What a check of the audit log has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audit {
    /// Every line is as it was written.
    Intact {
        /// How many there are.
        lines: u64,
    },
    /// A line was changed, removed or inserted.
    Broken {
        /// Number of the first line that is not as it was written, or of the one that is missing.
        line: u64,
    },
}

/// What a request would meet, and why.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The group that would get it; none: nobody can serve.
    pub group: Option<GroupName>,
    /// `rule`, `cohort`, `random`.
    pub by: &'static str,
    /// For people: `cookie pointsman is at 34.5678 %, green owns 25 to 100 %`.
    pub why: String,
    /// Position on the line of cohorts in per cent, where it has one.
    pub position: Option<f64>,
    /// The group by rule or cohort before health was looked at.
    pub preferred: GroupName,
}

/// What a request to explain looks like.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Header fields.
    pub headers: http::HeaderMap,
    /// Query string without the question mark.
    pub query: Option<String>,
    /// The client's address.
    pub client: Option<std::net::IpAddr>,
}

/// One difference between the file and what is running.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// Dotted path: `services.shop.split`.
    pub what: String,
    /// In the file.
    pub file: String,
    /// Running.
    pub running: String,
    /// Why they differ, for people: `changed at run time by ops at …`.
    pub why: String,
}

/// The outcome of a reload that was accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReloadReport {
    /// The version of the desired state after it.
    pub version: u64,
    /// Whether anything was changed.
    pub changed: bool,
    /// What was changed, for people: `services.shop: health changed`, `listeners.web: added`.
    pub changes: Vec<String>,
    /// Things that need a restart (`workers`, `state`, `admin`), kept as they were.
    pub needs_restart: Vec<String>,
}

/// How the process as a whole is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readiness {
    /// Workers accept, the first health round is over.
    pub ready: bool,
    /// Why not, or what is degraded (store unwritable, last reload failed).
    pub notes: Vec<String>,
    /// Whether the last reload succeeded.
    pub last_reload_ok: bool,
}
