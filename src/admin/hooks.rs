//! Alarms from outside: Prometheus Alertmanager's webhook rolls services back.
//!
//! An alert that is repeated for as long as it fires does no harm: a rollback that is repeated never flips forward.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::Desk;
use super::change::service_name;
use super::extract::{Params, Payload};
use super::precondition::Asked;
use super::problem::ApiError;
use super::wire::{Alert, AlertAnswer, AlertOutcome, Alerts, Problem};
use crate::control::command::{Cause, Force, Origin, TrafficChange};

/// Services that one call may roll back; Alertmanager sends far fewer alerts at a time.
const MOST: usize = 100;

/// What the address of the webhook says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meant {
    service: Option<String>,
}

/// Rolls back each service that a firing alert with the labels `service` and `pointsman="rollback"` names; with
/// `?service=` that one, whatever fires. What cannot be done for one keeps no other back. 503 where it should be sent
/// again, which Alertmanager does by itself.
#[utoipa::path(post, path = "/hooks/alertmanager", operation_id = "alertmanager", tag = "rollouts", request_body = Alerts,
    params(("service" = Option<String>, Query, description = "Which service, whatever the labels say")),
    responses((status = 200, description = "What was done", body = AlertAnswer),
              (status = 503, description = "Not all could be done now", body = AlertAnswer),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn alertmanager(
    State(desk): State<Desk>,
    asked: Asked,
    Params(Meant { service: named }): Params<Meant>,
    Payload(Alerts { alerts }): Payload<Alerts>,
) -> Result<(StatusCode, Json<AlertAnswer>), ApiError> {
    let all = alerts.len();
    let meant: Vec<_> = alerts.into_iter().filter(|alert| is_meant(alert, named.as_deref())).collect();
    let mut answer = AlertAnswer { services: Vec::new(), ignored: all - meant.len() };
    let mut status = StatusCode::OK;
    for alert in meant {
        let service = named.as_ref().or_else(|| alert.labels.get("service")).cloned().unwrap_or_default();
        if answer.services.iter().any(|done| done.service == service) {
            continue;
        }
        if answer.services.len() == MOST {
            return Err(ApiError::BadRequest(format!("more than {MOST} services in one call; group alerts otherwise")));
        }
        let origin = asked.clone().origin(&desk, None, Some(reason(&alert))).await?;
        let result = roll_back(&desk, &service, Origin { cause: Cause::Monitor, ..origin }).await;
        if result.as_ref().is_err_and(|error| error.row().0.is_server_error()) {
            status = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer.services.push(outcome(service, name(&alert), result));
    }
    Ok((status, Json(answer)))
}

/// Whether `alert` wants a rollback; where the address has `named` a service, all do that do not say otherwise.
fn is_meant(alert: &Alert, named: Option<&str>) -> bool {
    let wish = alert.labels.get("pointsman").map(String::as_str);
    alert.status == "firing" && wish.map_or(named.is_some(), |wish| wish == "rollback")
}

fn name(alert: &Alert) -> String {
    alert.labels.get("alertname").cloned().unwrap_or_else(|| "without a name".to_owned())
}

fn reason(alert: &Alert) -> String {
    let summary = alert.annotations.get("summary").map(|text| format!(": {text}")).unwrap_or_default();
    format!("alert {}{summary}", name(alert))
}

/// Whether anything was changed, and the version after it.
async fn roll_back(desk: &Desk, service: &str, origin: Origin) -> Result<(bool, u64), ApiError> {
    if service.is_empty() {
        return Err(ApiError::BadRequest("the alert has no label `service`".to_owned()));
    }
    let services = vec![service_name(desk, service).await?];
    let receipt = desk.handle.change(TrafficChange::Rollback { services, force: Force::No }, origin).await?;
    Ok((receipt.changed, receipt.version))
}

fn outcome(service: String, alert: String, result: Result<(bool, u64), ApiError>) -> AlertOutcome {
    match result {
        Ok((changed, version)) => {
            AlertOutcome { service, alert, changed, version: Some(version), code: None, detail: None }
        }
        Err(error) => {
            let (code, detail) = (Some(error.row().1.to_owned()), Some(error.to_string()));
            AlertOutcome { service, alert, changed: false, version: None, code, detail }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(status: &str, labels: &[(&str, &str)], summary: Option<&str>) -> Alert {
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let annotations = summary.map(|text| vec![("summary", text)]).unwrap_or_default();
        Alert { status: status.into(), labels: pairs(labels), annotations: pairs(&annotations) }
    }

    #[test]
    fn only_firing_alerts_with_the_label_are_meant() {
        for (status, wish, meant) in [
            ("firing", "rollback", true),
            ("resolved", "rollback", false),
            ("firing", "page", false),
            ("firing", "", false),
        ] {
            let alert = alert(status, &[("pointsman", wish), ("service", "shop")], None);
            assert_eq!(is_meant(&alert, None), meant, "{status} {wish}");
            assert_eq!(is_meant(&alert, Some("shop")), meant, "{status} {wish}");
        }
        let plain = alert("firing", &[("service", "shop")], None);
        assert!(!is_meant(&plain, None) && is_meant(&plain, Some("shop")));
    }

    #[test]
    fn the_reason_names_the_alert_and_says_what_it_says() {
        let labels = [("alertname", "HighErrorRate")];
        assert_eq!(reason(&alert("firing", &labels, Some("7 % of errors"))), "alert HighErrorRate: 7 % of errors");
        assert_eq!(reason(&alert("firing", &labels, None)), "alert HighErrorRate");
    }
}
