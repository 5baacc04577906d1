//! Rollouts that begin later: they are shown where somebody looks at a service, and how to call them off.

use serde_json::Value;

use crate::admin::wire::{Job, Jobs};
use crate::cli::client::Client;
use crate::cli::output::{plain, time};

/// The jobs that will begin rollouts, the next one first.
pub(in crate::cli) async fn scheduled(client: &Client) -> anyhow::Result<Vec<Job>> {
    let mut found: Jobs = client.get("/api/v1/jobs?kind=start_rollout&state=waiting&limit=1000").await?;
    found.jobs.sort_by_key(|job| job.due);
    Ok(found.jobs)
}

/// A line for each of these that moves `service`.
pub(in crate::cli) fn begins(scheduled: &[Job], service: &str) -> Vec<String> {
    let moves = |job: &&Job| job.detail["services"].as_array().is_some_and(|all| all.iter().any(|one| one == service));
    scheduled.iter().filter(moves).map(line).collect()
}

fn line(job: &Job) -> String {
    let text = |value: &Value| plain(value.as_str().unwrap_or_default());
    let (to, actor, at, id) = (text(&job.detail["to"]), text(&job.detail["actor"]), time(job.due), job.id);
    let reason = job.detail["reason"].as_str().map(|why| format!(", {}", plain(why))).unwrap_or_default();
    let tried = job.last_error.as_ref().map(|why| format!(" after a try that failed ({})", plain(why)));
    let tried = tried.unwrap_or_default();
    format!("a rollout to {to} begins {at}{tried} (for {actor}{reason}); call it off: pointsman jobs cancel {id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_later_is_said_of_its_services_with_when_for_whom_and_how_to_call_it_off() {
        let job: Job = serde_json::from_value(serde_json::json!({
            "id": 17, "kind": "start_rollout", "state": "waiting", "priority": "high", "about": "", "attempts": 0,
            "detail": { "services": ["shop", "api"], "to": "green", "actor": "ops", "reason": "2.0\u{1b}!" },
            "created_at": "2026-11-05T10:00:00Z", "due": "2026-11-05T22:00:00Z", "deadline": null, "last_error": null
        }))
        .unwrap();
        let line =
            "a rollout to green begins 2026-11-05 22:00:00Z (for ops, 2.0 !); call it off: pointsman jobs cancel 17";
        let shown = begins(std::slice::from_ref(&job), "shop");
        assert_eq!(shown, [line]);
        assert!(begins(std::slice::from_ref(&job), "sho").is_empty());
        let failed = Job { last_error: Some("green is not healthy".to_owned()), ..job };
        assert!(begins(&[failed], "api")[0].contains("after a try that failed (green is not healthy)"));
    }
}
