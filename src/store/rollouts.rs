//! Rows of rollouts: under way and ended ones, each as one text.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use super::rows::unreadable;
use super::{MOST_ROLLOUTS, RolloutQuery, RolloutRow};
use crate::model::rollout::{Rollout, RolloutId};

const SELECT: &str = "SELECT id, services, ended, body FROM rollouts";

fn rollout(row: &Row<'_>) -> rusqlite::Result<RolloutRow> {
    let services: String = row.get(1)?;
    let services = serde_json::from_str(&services).map_err(|e| unreadable(1, e))?;
    Ok(RolloutRow { id: row.get(0)?, services, ended: row.get(2)?, body: row.get(3)? })
}

/// Writes rollouts over what was there with their numbers; of those that have ended, only the last ones stay.
pub(super) fn write_rollouts(to: &Connection, rows: &[RolloutRow]) -> rusqlite::Result<()> {
    for row in rows {
        let mut statement =
            to.prepare_cached("INSERT OR REPLACE INTO rollouts (id, services, ended, body) VALUES (?1, ?2, ?3, ?4)")?;
        let services = serde_json::json!(row.services).to_string();
        statement.execute(params![row.id, services, row.ended, row.body])?;
    }
    if rows.iter().any(|row| row.ended) {
        to.prepare_cached(
            "DELETE FROM rollouts WHERE ended = 1 AND id <= \
             (SELECT id FROM rollouts WHERE ended = 1 ORDER BY id DESC LIMIT 1 OFFSET ?1)",
        )?
        .execute([i64::try_from(MOST_ROLLOUTS).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}

/// Those under way. One that this version cannot read is no reason to do without the state: it stays where it is, and
/// so do its services.
pub(super) fn under_way(from: &Connection) -> rusqlite::Result<BTreeMap<RolloutId, Rollout>> {
    let mut statement = from.prepare(&format!("{SELECT} WHERE ended = 0 ORDER BY id"))?;
    let (mut rows, mut found) = (statement.query([])?, BTreeMap::new());
    while let Some(row) = rows.next()? {
        let (id, services): (u64, String) = (row.get(0)?, row.get(1)?);
        match rollout(row).and_then(|row| row.read().map_err(|e| unreadable(3, e))) {
            Ok(rollout) => drop(found.insert(rollout.id, rollout)),
            Err(error) => tracing::error!(
                rollout = %RolloutId(id),
                services,
                %error,
                "a stored rollout cannot be read and does not go on; its services keep their shares and nobody judges \
                 them: move them with `pointsman switch` or `pointsman rollback`, or go back to the version of \
                 pointsman that has written it"
            ),
        }
    }
    Ok(found)
}

/// The newest first.
pub(super) fn found(from: &Connection, query: &RolloutQuery) -> rusqlite::Result<Vec<RolloutRow>> {
    let before = query.before.map_or(i64::MAX, |id| i64::try_from(id).unwrap_or(i64::MAX));
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let mut statement = from.prepare_cached(&format!(
        "{SELECT} WHERE id < ?1 AND (?2 IS NULL OR EXISTS (SELECT 1 FROM json_each(services) WHERE value = ?2)) \
         ORDER BY id DESC LIMIT ?3"
    ))?;
    statement.query_map(params![before, query.service, limit], rollout)?.collect()
}

pub(super) fn one(from: &Connection, id: u64) -> rusqlite::Result<Option<RolloutRow>> {
    let Ok(id) = i64::try_from(id) else { return Ok(None) };
    let mut statement = from.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    rusqlite::OptionalExtension::optional(statement.query_row([id], rollout))
}
