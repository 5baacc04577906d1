//! Rows of jobs, and how many of those that have ended are kept.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde_json::{Value, json};

use super::rows::unreadable;
use super::{MOST_DEAD, MOST_ENDED};
use crate::model::job::{Job, Kind, Priority, State};

const SELECT_JOBS: &str = "SELECT id, kind, priority, state, attempts, created, due, deadline, last_error, payload \
     FROM jobs ORDER BY id";

/// No label has this spelling.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no {1} of a job")]
struct NoLabel(String, &'static str);

/// All that are kept, by their numbers. One that this version cannot read is no reason to do without the state: it
/// stays where it is.
pub(super) fn all(from: &Connection) -> rusqlite::Result<Vec<Job>> {
    let mut statement = from.prepare(SELECT_JOBS)?;
    let (mut rows, mut jobs) = (statement.query([])?, Vec::new());
    while let Some(row) = rows.next()? {
        match job(row) {
            Ok(job) => jobs.push(job.found()),
            Err(error) => tracing::error!(%error, "a stored job cannot be read and is not done"),
        }
    }
    Ok(jobs)
}

fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let (kind, payload): (String, String) = (row.get(1)?, row.get(9)?);
    let payload: Value = serde_json::from_str(&payload).map_err(|e| unreadable(9, e))?;
    let kind: Kind =
        serde_json::from_value(json!({ "kind": kind, "payload": payload })).map_err(|e| unreadable(1, e))?;
    Ok(Job {
        id: row.get(0)?,
        kind,
        priority: labelled(row, 2, "priority", Priority::from_label)?,
        state: labelled(row, 3, "state", State::from_label)?,
        attempts: row.get(4)?,
        created: time(5, &row.get::<_, String>(5)?)?,
        due: time(6, &row.get::<_, String>(6)?)?,
        deadline: row.get::<_, Option<String>>(7)?.map(|text| time(7, &text)).transpose()?,
        last_error: row.get(8)?,
    })
}

fn labelled<T>(
    row: &Row<'_>,
    column: usize,
    what: &'static str,
    from_label: fn(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let label: String = row.get(column)?;
    from_label(&label).ok_or_else(|| unreadable(column, NoLabel(label, what)))
}

fn time(column: usize, text: &str) -> rusqlite::Result<Timestamp> {
    text.parse().map_err(|e: jiff::Error| unreadable(column, e))
}

/// Writes jobs over what was there with their numbers; of those that have ended, only the last ones stay.
pub(super) fn write_jobs(to: &Connection, jobs: &[Job]) -> rusqlite::Result<()> {
    for job in jobs {
        write_job(to, job)?;
    }
    let ended = |state: State| jobs.iter().any(|job| job.state == state);
    for (state, most) in [(State::Done, MOST_ENDED), (State::Cancelled, MOST_ENDED), (State::Dead, MOST_DEAD)] {
        if ended(state) {
            to.prepare_cached(
                "DELETE FROM jobs WHERE state = ?1 AND id <= \
                 (SELECT id FROM jobs WHERE state = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![state.label(), i64::try_from(most).unwrap_or(i64::MAX)])?;
        }
    }
    Ok(())
}

fn write_job(to: &Connection, job: &Job) -> rusqlite::Result<()> {
    let kind = serde_json::to_value(&job.kind).unwrap_or_default();
    let mut statement = to.prepare_cached(
        "INSERT OR REPLACE INTO jobs \
         (id, kind, priority, state, attempts, created, due, deadline, last_error, payload) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    statement.execute(params![
        job.id,
        job.kind.label(),
        job.priority.label(),
        job.state.label(),
        job.attempts,
        job.created.to_string(),
        job.due.to_string(),
        job.deadline.map(|deadline| deadline.to_string()),
        job.last_error,
        kind["payload"].to_string(),
    ])?;
    Ok(())
}
