//! Rows of rollouts: under way and ended ones, each as one text.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use super::rows::unreadable;
use super::{RolloutQuery, RolloutRow};
use crate::model::rollout::{Rollout, RolloutId};

const SELECT: &str = "SELECT id, services, ended, body FROM rollouts";

fn rollout(row: &Row<'_>) -> rusqlite::Result<RolloutRow> {
    let services: String = row.get(1)?;
    let services = serde_json::from_str(&services).map_err(|e| unreadable(1, e))?;
    Ok(RolloutRow { id: row.get(0)?, services, ended: row.get(2)?, body: row.get(3)? })
}

pub(super) fn write_rollout(to: &Connection, row: &RolloutRow) -> rusqlite::Result<()> {
    let mut statement =
        to.prepare_cached("INSERT OR REPLACE INTO rollouts (id, services, ended, body) VALUES (?1, ?2, ?3, ?4)")?;
    let services = serde_json::json!(row.services).to_string();
    statement.execute(params![row.id, services, row.ended, row.body])?;
    Ok(())
}

/// Those under way.
pub(super) fn under_way(from: &Connection) -> rusqlite::Result<BTreeMap<RolloutId, Rollout>> {
    let mut statement = from.prepare(&format!("{SELECT} WHERE ended = 0 ORDER BY id"))?;
    let read = |row: rusqlite::Result<RolloutRow>| {
        let rollout = row?.read().map_err(|e| unreadable(3, e))?;
        Ok((rollout.id, rollout))
    };
    statement.query_map([], rollout)?.map(read).collect()
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
