//! The one error of the admin API and its table from error to answer (RFC 9457, `application/problem+json`).
//!
//! Each row says whose fault it was (the status), what programs can rely on (the code) and what people can do (the
//! detail). It refuses to know how any of these errors came about.

use std::net::IpAddr;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::auth::label;
use super::upgrade::UpgradeError;
use super::wire::Problem;
use crate::config::spec::Role;
use crate::control::command::Rejected;

/// Why a request to the admin API was not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The controller refused.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// There was no upgrade.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    /// The request itself makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// A time that cannot be meant.
    #[error("{0}")]
    InvalidDuration(String),
    /// The body is larger than the limit, in bytes.
    #[error("the body is larger than {0} bytes; a change needs far less")]
    BodyTooLarge(usize),
    /// The body did not arrive in time.
    #[error("the body did not arrive within {0} s; send it at once")]
    BodyTooSlow(u64),
    /// No valid token.
    #[error("{0}; send the header `Authorization: Bearer TOKEN` (the command line: --token or POINTSMAN_TOKEN)")]
    Unauthorized(&'static str),
    /// The token is good, its role is not enough.
    #[error("token {name:?} has the role {}; this needs the role {}", label(*.has), label(*.needed))]
    Forbidden {
        /// The token's name.
        name: String,
        /// Its role.
        has: Role,
        /// The role that would do.
        needed: Role,
    },
    /// The peer's address is not in `admin.allow`.
    #[error("{0} may not connect to the admin port; add its network to admin.allow")]
    PeerNotAllowed(IpAddr),
    /// The request is addressed to somebody else.
    #[error("the admin port does not answer to the host {0:?}; use its own address or add the name to admin.hosts")]
    BadHost(String),
    /// A foreign web page is asking.
    #[error("a page of {0:?} may not use the admin port; add its host to admin.hosts if it should")]
    BadOrigin(String),
    /// No such path.
    #[error("there is nothing at {0}; GET /api/v1/openapi.json lists all there is")]
    NoSuchPath(String),
    /// The path is right, the method is not.
    #[error("{0} is not a method of this path; the header Allow names those that are")]
    MethodNotAllowed(String),
    /// All places for event streams are taken.
    #[error("too many event streams are open; close one, or read pages with ?since=N")]
    TooManyStreams,
}

type Row = (StatusCode, &'static str, &'static str);

impl ApiError {
    /// Its status, its stable code and its title.
    pub fn row(&self) -> Row {
        use StatusCode as S;
        match self {
            ApiError::Rejected(rejected) | ApiError::Upgrade(UpgradeError::Refused(rejected)) => rejected_row(rejected),
            ApiError::Upgrade(UpgradeError::InProgress) => {
                (S::CONFLICT, "upgrade_in_progress", "An upgrade is under way")
            }
            ApiError::Upgrade(UpgradeError::Failed { .. }) => (S::CONFLICT, "upgrade_failed", "The upgrade has failed"),
            ApiError::BadRequest(_) => (S::BAD_REQUEST, "bad_request", "The request is wrong"),
            ApiError::InvalidDuration(_) => (S::UNPROCESSABLE_ENTITY, "invalid_duration", "Not a fitting duration"),
            ApiError::BodyTooLarge(_) => (S::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large"),
            ApiError::BodyTooSlow(_) => (S::REQUEST_TIMEOUT, "body_too_slow", "The body came too late"),
            ApiError::Unauthorized(_) => (S::UNAUTHORIZED, "unauthorized", "A token is needed"),
            ApiError::Forbidden { .. } => (S::FORBIDDEN, "forbidden", "The role does not suffice"),
            ApiError::PeerNotAllowed(_) => (S::FORBIDDEN, "peer_not_allowed", "The address is not allowed"),
            ApiError::BadHost(_) => (S::FORBIDDEN, "bad_host", "A foreign host"),
            ApiError::BadOrigin(_) => (S::FORBIDDEN, "bad_origin", "A foreign origin"),
            ApiError::NoSuchPath(_) => (S::NOT_FOUND, "no_such_path", "No such path"),
            ApiError::MethodNotAllowed(_) => (S::METHOD_NOT_ALLOWED, "method_not_allowed", "No such method"),
            ApiError::TooManyStreams => (S::SERVICE_UNAVAILABLE, "too_many_streams", "Too many event streams"),
        }
    }

    /// The body of the answer.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (status, code, title) = self.row();
        let (errors, version) = match self {
            ApiError::Rejected(Rejected::InvalidConfig(errors) | Rejected::InvalidPlan(errors)) => {
                (Some(errors.clone()), None)
            }
            ApiError::Upgrade(UpgradeError::Failed { errors, .. }) if !errors.is_empty() => {
                (Some(errors.clone()), None)
            }
            ApiError::Rejected(Rejected::StaleVersion { current, .. }) => (None, Some(*current)),
            _ => (None, None),
        };
        Problem {
            kind: format!("urn:pointsman:problem:{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.to_string(),
            code: code.to_owned(),
            errors,
            version,
        }
    }

    /// A header field that belongs to the answer.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            ApiError::Unauthorized(_) => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pointsman\"")))
            }
            ApiError::PeerNotAllowed(_) | ApiError::BodyTooLarge(_) | ApiError::BodyTooSlow(_) => {
                Some((header::CONNECTION, HeaderValue::from_static("close")))
            }
            ApiError::TooManyStreams | ApiError::Rejected(Rejected::ShuttingDown | Rejected::Store(_)) => {
                Some((header::RETRY_AFTER, HeaderValue::from_static("5")))
            }
            ApiError::Rejected(Rejected::Upgrading) => Some((header::RETRY_AFTER, HeaderValue::from_static("1"))),
            _ => None,
        }
    }
}

fn rejected_row(rejected: &Rejected) -> Row {
    use StatusCode as S;
    match rejected {
        Rejected::UnknownService { .. } => (S::NOT_FOUND, "no_such_service", "No such service"),
        Rejected::UnknownGroup { .. } => (S::NOT_FOUND, "no_such_group", "No such group"),
        Rejected::UnknownUpstream { .. } => (S::NOT_FOUND, "no_such_upstream", "No such upstream"),
        Rejected::NoDrain { .. } => (S::NOT_FOUND, "no_drain", "Not drained"),
        Rejected::LiveGroup { .. } => (S::CONFLICT, "live_group", "It serves the users"),
        Rejected::DrainInProgress { .. } => (S::CONFLICT, "drain_in_progress", "It is being drained already"),
        Rejected::UnknownJob(_) => (S::NOT_FOUND, "no_such_job", "No such job"),
        Rejected::JobNotDead { .. } => (S::CONFLICT, "job_not_dead", "The job is not dead"),
        Rejected::JobNotCancellable { .. } => (S::CONFLICT, "job_not_cancellable", "The job cannot be cancelled"),
        Rejected::StaleVersion { .. } => (S::PRECONDITION_FAILED, "stale_version", "The version is stale"),
        Rejected::NoHealthyUpstream { .. } | Rejected::CandidateUnhealthy { .. } => {
            (S::CONFLICT, "no_healthy_upstream", "The group is not healthy")
        }
        Rejected::StableGroupUnhealthy { .. } => {
            (S::CONFLICT, "stable_group_unhealthy", "The stable group is not healthy")
        }
        Rejected::UnevenShares { .. } => (S::CONFLICT, "uneven_shares", "The services are not at one share"),
        Rejected::RolloutInProgress { .. } => (S::CONFLICT, "rollout_in_progress", "A rollout is under way"),
        Rejected::AlreadyLive { .. } => (S::CONFLICT, "already_live", "It has everything already"),
        Rejected::NoRollout(_) => (S::NOT_FOUND, "no_rollout", "No such rollout"),
        Rejected::NotNow { .. } => (S::CONFLICT, "not_now", "Not in this state"),
        Rejected::AnotherMustAgree { .. } => (S::FORBIDDEN, "another_must_agree", "Somebody else has to agree"),
        Rejected::BadLink(_) => (S::FORBIDDEN, "bad_link", "The link cannot be used"),
        Rejected::DrillInProgress => (S::CONFLICT, "drill_in_progress", "A drill is under way"),
        Rejected::LinkExpired => (S::GONE, "link_expired", "The link is too old"),
        Rejected::Frozen { .. } | Rejected::StepFrozen { .. } => (S::CONFLICT, "frozen", "Nothing new begins now"),
        Rejected::InvalidPlan(_) => (S::UNPROCESSABLE_ENTITY, "invalid_plan", "The plan is wrong"),
        Rejected::InvalidTime(_) => (S::UNPROCESSABLE_ENTITY, "invalid_time", "Not a time for this"),
        Rejected::InvalidDuration(_) => (S::UNPROCESSABLE_ENTITY, "invalid_duration", "Not a duration for this"),
        Rejected::HoldInProgress { .. } => (S::CONFLICT, "hold_in_progress", "The service is held"),
        Rejected::HoldReleased { .. } => (S::CONFLICT, "hold_released", "The service was released"),
        Rejected::InvalidSplit(_) => (S::UNPROCESSABLE_ENTITY, "invalid_split", "Not a split"),
        Rejected::IdempotencyKeyReused(_) => {
            (S::UNPROCESSABLE_ENTITY, "idempotency_key_reused", "The key was used for another request")
        }
        Rejected::InvalidConfig(_) => (S::UNPROCESSABLE_ENTITY, "invalid_config", "The configuration is wrong"),
        Rejected::Store(_) => (S::SERVICE_UNAVAILABLE, "store_unavailable", "The state cannot be written"),
        Rejected::ShuttingDown => (S::SERVICE_UNAVAILABLE, "shutting_down", "Shutting down"),
        Rejected::Upgrading => (S::SERVICE_UNAVAILABLE, "upgrading", "An upgrade is under way"),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let mut response = (self.row().0, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = self.header() {
            headers.insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::command::Part;
    use crate::model::job::State;
    use crate::model::names::{GroupName, ServiceName};
    use crate::model::split::SplitError;

    fn every_error() -> Vec<(ApiError, u16, &'static str)> {
        let service = ServiceName::new("shop").unwrap();
        let group = GroupName::new("green").unwrap();
        let known = || "blue, green".to_owned();
        let why = || "refused".to_owned();
        let part = || Part { group: group.clone(), upstream: None };
        let rejected = [
            (Rejected::UnknownService { name: "x".into(), known: known() }, 404, "no_such_service"),
            (
                Rejected::UnknownGroup { service: service.clone(), name: "x".into(), known: known() },
                404,
                "no_such_group",
            ),
            (Rejected::StaleVersion { what: "service shop".into(), expected: 1, current: 12 }, 412, "stale_version"),
            (
                Rejected::NoHealthyUpstream { service: service.clone(), group: group.clone(), why: why() },
                409,
                "no_healthy_upstream",
            ),
            (
                Rejected::UnknownUpstream {
                    service: service.clone(),
                    group: group.clone(),
                    url: "x".into(),
                    known: known(),
                },
                404,
                "no_such_upstream",
            ),
            (Rejected::NoDrain { service: service.clone(), part: part() }, 404, "no_drain"),
            (Rejected::LiveGroup { service: service.clone(), part: part() }, 409, "live_group"),
            (
                Rejected::DrainInProgress {
                    service: service.clone(),
                    part: part(),
                    deadline: jiff::Timestamp::UNIX_EPOCH,
                },
                409,
                "drain_in_progress",
            ),
            (Rejected::UnknownJob(7), 404, "no_such_job"),
            (Rejected::JobNotDead { id: 7, state: State::Done }, 409, "job_not_dead"),
            (Rejected::JobNotCancellable { id: 7, why: "it has ended already" }, 409, "job_not_cancellable"),
            (Rejected::InvalidTime("it is past".into()), 422, "invalid_time"),
            (Rejected::BadLink("it is too old"), 403, "bad_link"),
            (Rejected::DrillInProgress, 409, "drill_in_progress"),
            (Rejected::LinkExpired, 410, "link_expired"),
            (Rejected::NoRollout("none is under way".into()), 404, "no_rollout"),
            (Rejected::InvalidPlan(vec!["bake: wrong".into()]), 422, "invalid_plan"),
            (Rejected::InvalidDuration("0s".into()), 422, "invalid_duration"),
            (Rejected::HoldInProgress { service: service.clone() }, 409, "hold_in_progress"),
            (Rejected::HoldReleased { service: service.clone() }, 409, "hold_released"),
            (Rejected::StableGroupUnhealthy { service, group, why: why() }, 409, "stable_group_unhealthy"),
            (Rejected::InvalidSplit(SplitError::OutOfRange(-1.0)), 422, "invalid_split"),
            (Rejected::IdempotencyKeyReused("k".into()), 422, "idempotency_key_reused"),
            (Rejected::InvalidConfig(vec!["a:1:1: wrong".into()]), 422, "invalid_config"),
            (Rejected::Store("disk full".into()), 503, "store_unavailable"),
            (Rejected::ShuttingDown, 503, "shutting_down"),
            (Rejected::Upgrading, 503, "upgrading"),
        ];
        let failed = UpgradeError::Failed { why: "it ended".into(), errors: vec!["a:1:1: wrong".into()] };
        let own = [
            (ApiError::Upgrade(UpgradeError::InProgress), 409, "upgrade_in_progress"),
            (ApiError::Upgrade(failed), 409, "upgrade_failed"),
            (ApiError::BadRequest("no".into()), 400, "bad_request"),
            (ApiError::InvalidDuration("no".into()), 422, "invalid_duration"),
            (ApiError::BodyTooLarge(1), 413, "body_too_large"),
            (ApiError::BodyTooSlow(1), 408, "body_too_slow"),
            (ApiError::Unauthorized("no token"), 401, "unauthorized"),
            (ApiError::Forbidden { name: "ci".into(), has: Role::Viewer, needed: Role::Operator }, 403, "forbidden"),
            (ApiError::PeerNotAllowed([10, 0, 0, 1].into()), 403, "peer_not_allowed"),
            (ApiError::BadHost("evil".into()), 403, "bad_host"),
            (ApiError::BadOrigin("http://evil".into()), 403, "bad_origin"),
            (ApiError::NoSuchPath("/x".into()), 404, "no_such_path"),
            (ApiError::MethodNotAllowed("PATCH".into()), 405, "method_not_allowed"),
            (ApiError::TooManyStreams, 503, "too_many_streams"),
        ];
        rejected.into_iter().map(|(e, status, code)| (e.into(), status, code)).chain(own).collect()
    }

    #[test]
    fn every_error_has_its_status_and_its_stable_code_and_a_detail() {
        for (error, status, code) in every_error() {
            let problem = error.problem();
            assert_eq!((problem.status, problem.code.as_str()), (status, code), "{error:?}");
            assert!(problem.detail.len() > 1 && problem.kind.ends_with(code), "{problem:?}");
            let response = error.into_response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        }
    }

    #[test]
    fn a_stale_version_tells_the_current_one_and_a_wrong_config_all_its_errors() {
        let stale = ApiError::from(Rejected::StaleVersion { what: "service shop".into(), expected: 1, current: 12 });
        assert_eq!(stale.problem().version, Some(12));
        let wrong = ApiError::from(Rejected::InvalidConfig(vec!["a:1:1: x".into(), "a:2:1: y".into()]));
        assert_eq!(wrong.problem().errors.map(|e| e.len()), Some(2));
    }

    #[test]
    fn the_refusal_of_a_role_names_the_role_that_is_needed() {
        let error = ApiError::Forbidden { name: "ci".into(), has: Role::Viewer, needed: Role::Operator };
        assert!(error.to_string().contains("needs the role operator"), "{error}");
    }
}
