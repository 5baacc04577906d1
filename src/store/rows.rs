//! The rows of the SQLite tables and the values that they stand for.

use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use serde_json::{Map, Value};

use super::chain::{Hash, Line};
use super::drains;
use super::{Event, KeptReceipt, NewEvent};
use crate::model::change::ServiceState;
use crate::model::cohort::Salt;
use crate::model::names::{GroupName, ServiceName};
use crate::model::split::{Share, Split};

pub(super) const SELECT_SERVICES: &str =
    "SELECT name, split, stable_split, file_split, salt, version, drains FROM service_state";
pub(super) const SELECT_RECEIPT: &str =
    "SELECT key, fingerprint, receipt, at FROM idempotency WHERE key = ?1 AND at >= ?2";
pub(super) const SELECT_EVENTS: &str =
    "SELECT id, at, actor, kind, service, detail FROM events WHERE id > ?1 ORDER BY id LIMIT ?2";
pub(super) const SELECT_EVENTS_OF_SERVICE: &str =
    "SELECT id, at, actor, kind, service, detail FROM events WHERE id > ?1 AND service = ?3 ORDER BY id LIMIT ?2";
pub(super) const SELECT_LAST_EVENT: &str = "SELECT id, at, actor, kind, service, detail FROM events \
     WHERE service = ?1 AND kind IN (SELECT value FROM json_each(?2)) ORDER BY id DESC LIMIT 1";
pub(super) const SELECT_CHAIN: &str =
    "SELECT id, at, actor, kind, service, detail, prev_hash, hash FROM events ORDER BY id";

pub(super) fn service(row: &Row<'_>) -> rusqlite::Result<(ServiceName, ServiceState)> {
    let name: String = row.get(0)?;
    let name = ServiceName::new(&name).map_err(|e| unreadable(0, e))?;
    let state = ServiceState {
        split: split(row, 1)?,
        stable: split(row, 2)?,
        file_split: split(row, 3)?,
        salt: Salt(u128::from_be_bytes(row.get(4)?)),
        version: row.get(5)?,
        drains: drains::read(&row.get::<_, String>(6)?).map_err(|e| unreadable(6, e))?,
    };
    Ok((name, state))
}

pub(super) fn write_service(to: &Connection, name: &ServiceName, state: &ServiceState) -> rusqlite::Result<()> {
    let mut statement = to.prepare_cached(
        "INSERT OR REPLACE INTO service_state (name, split, stable_split, file_split, salt, version, drains) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let (split, stable, file) = (text(&state.split), text(&state.stable), text(&state.file_split));
    let drains = drains::text(&state.drains);
    statement.execute(params![
        name.as_str(),
        split,
        stable,
        file,
        state.salt.0.to_be_bytes(),
        state.version,
        drains
    ])?;
    Ok(())
}

pub(super) fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let (at, detail): (String, String) = (row.get(1)?, row.get(5)?);
    let line = NewEvent {
        at: at.parse().map_err(|e: jiff::Error| unreadable(1, e))?,
        actor: row.get(2)?,
        kind: row.get(3)?,
        service: row.get(4)?,
        detail: serde_json::from_str(&detail).map_err(|e| unreadable(5, e))?,
    };
    Ok(Event { id: row.get(0)?, line })
}

/// Writes a line behind the one with the hash `before` and gives back its own hash.
pub(super) fn write_event(to: &Connection, id: u64, event: &NewEvent, before: &Hash) -> rusqlite::Result<Hash> {
    let (at, detail) = (event.at.to_string(), event.detail.to_string());
    let (actor, kind, service) = (event.actor.as_str(), event.kind.as_str(), event.service.as_deref());
    let hash = Line { id, at: &at, actor, kind, service, detail: &detail }.hash(before);
    let mut statement = to.prepare_cached(
        "INSERT INTO events (id, at, actor, kind, service, detail, prev_hash, hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    statement.execute(params![id, at, actor, kind, service, detail, before, hash])?;
    Ok(hash)
}

/// The hash of a stored line, if it is the one that was written as number `id` behind `before`.
pub(super) fn checked(row: &Row<'_>, id: u64, before: &Hash) -> rusqlite::Result<Option<Hash>> {
    let found: u64 = row.get(0)?;
    let [at, actor, kind, detail] = [row.get::<_, String>(1)?, row.get(2)?, row.get(3)?, row.get(5)?];
    let service: Option<String> = row.get(4)?;
    let line = Line { id, at: &at, actor: &actor, kind: &kind, service: service.as_deref(), detail: &detail };
    let hash = line.hash(before);
    let stored = (row.get::<_, Vec<u8>>(6)?, row.get::<_, Vec<u8>>(7)?);
    Ok((found == id && stored.0 == before && stored.1 == hash).then_some(hash))
}

pub(super) fn receipt(row: &Row<'_>) -> rusqlite::Result<KeptReceipt> {
    let text: String = row.get(2)?;
    let at = jiff::Timestamp::from_millisecond(row.get(3)?).map_err(|e| unreadable(3, e))?;
    let receipt = serde_json::from_str(&text).map_err(|e| unreadable(2, e))?;
    Ok(KeptReceipt { key: row.get(0)?, fingerprint: row.get(1)?, receipt, at })
}

pub(super) fn write_receipt(to: &Connection, receipt: &KeptReceipt) -> rusqlite::Result<()> {
    let mut statement = to
        .prepare_cached("INSERT OR REPLACE INTO idempotency (key, fingerprint, receipt, at) VALUES (?1, ?2, ?3, ?4)")?;
    let (text, at) = (receipt.receipt.to_string(), receipt.at.as_millisecond());
    statement.execute(params![receipt.key, receipt.fingerprint, text, at])?;
    Ok(())
}

/// `{"blue":90,"green":10}`.
fn text(split: &Split) -> String {
    let shares = split.iter().map(|(group, share)| (group.to_string(), Value::from(share.percent())));
    Value::Object(shares.collect::<Map<_, _>>()).to_string()
}

fn split(row: &Row<'_>, column: usize) -> rusqlite::Result<Split> {
    let text: String = row.get(column)?;
    let shares: Map<String, Value> = serde_json::from_str(&text).map_err(|e| unreadable(column, e))?;
    let share = |(group, percent): (&String, &Value)| -> rusqlite::Result<(GroupName, Share)> {
        let group = GroupName::new(group).map_err(|e| unreadable(column, e))?;
        let share = Share::from_percent(percent.as_f64().unwrap_or(f64::NAN)).map_err(|e| unreadable(column, e))?;
        Ok((group, share))
    };
    let shares = shares.iter().map(share).collect::<rusqlite::Result<Vec<_>>>()?;
    Split::new(shares).map_err(|e| unreadable(column, e))
}

pub(super) fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
