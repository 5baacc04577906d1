//! Desired state and events in a SQLite file that an operator can look into with any SQLite client.
//!
//! One connection, write-ahead log, every commit forced to the disk. A lock file beside it keeps a second pointsman
//! out, not readers. What the columns mean is in [`super::rows`].

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};

use super::chain::{GENESIS, Hash};
use super::{
    Batch, Event, EventQuery, KeptReceipt, NewEvent, RolloutQuery, RolloutRow, Store, StoreError, Stored, Verified,
    jobs, rollouts, rows,
};

/// What changes a database from one schema to the next; its length is the newest schema's number.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema_1.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];

/// How long a commit waits for a client that has locked the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an answer is kept for repeated requests.
const RECEIPTS_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// A store in a SQLite database.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    path: String,
    /// Locked while this process uses the database; released by the system however the process ends.
    _lock: Option<File>,
}

impl Sqlite {
    /// Opens the file at `path`; it, and its folder, are created when missing, readable by this user only.
    ///
    /// # Errors
    /// [`StoreError`] saying what to do.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        let unusable = |e: io::Error| StoreError::Unusable { path: shown.clone(), hint: hint(&e) };
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        }
        let lock = private(&lock_path(path)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: shown }),
            Err(TryLockError::Error(e)) => return Err(unusable(e)),
        }
        drop(private(path).map_err(unusable)?);
        let connection = Connection::open(path).map_err(|e| explained(&shown, &e))?;
        Self::prepared(connection, shown, Some(lock))
    }

    /// A database that is gone with the process.
    ///
    /// # Errors
    /// [`StoreError`] when there is no memory for it.
    pub fn in_memory() -> Result<Self, StoreError> {
        let path = ":memory:".to_owned();
        let connection = Connection::open_in_memory().map_err(|e| explained(&path, &e))?;
        Self::prepared(connection, path, None)
    }

    fn prepared(mut connection: Connection, path: String, lock: Option<File>) -> Result<Self, StoreError> {
        configured(&connection).map_err(|e| explained(&path, &e))?;
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        let found: i64 =
            connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(|e| explained(&path, &e))?;
        if found > known {
            return Err(StoreError::TooNew { path, found, known });
        }
        for (i, sql) in MIGRATIONS.iter().enumerate().skip(usize::try_from(found).unwrap_or(0)) {
            migrated(&mut connection, sql, i + 1).map_err(|e| explained(&path, &e))?;
        }
        Ok(Self { connection, path, _lock: lock })
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |e| explained(&path, &e)
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    lock.into()
}

/// Opens or creates a file that only this user may read; SQLite gives its side files the same mode.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "not permitted; make it and its folder writable for this user".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only; set state.path to a folder that can be written".to_owned()
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::AlreadyExists => {
            format!("{error}; state.path must be the path of a file in a folder")
        }
        _ => error.to_string(),
    }
}

fn configured(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Without it, INSERT OR REPLACE would go round the trigger that forbids DELETE.
    connection.pragma_update(None, "recursive_triggers", true)
}

fn migrated(connection: &mut Connection, sql: &str, version: usize) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(sql)?;
    transaction.pragma_update(None, "user_version", i64::try_from(version).unwrap_or(i64::MAX))?;
    transaction.commit()
}

fn explained(path: &str, error: &rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged { path, what: error.to_string() }
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            StoreError::Unusable { path, hint: format!("{error}; make it and its folder writable for this user") }
        }
        Some(ErrorCode::DiskFull) => StoreError::Failed { what: format!("the disk that holds {path} is full") },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Failed { what: format!("{path} is locked by another program; let it go there") }
        }
        Some(_) | None => match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => StoreError::Damaged { path, what: error.to_string() },
            _ => StoreError::Failed { what: error.to_string() },
        },
    }
}

impl Store for Sqlite {
    fn load(&mut self) -> Result<Stored, StoreError> {
        let failed = self.failed();
        let read = || -> rusqlite::Result<Stored> {
            let mut stored = Stored::default();
            stored.desired.version = self.connection.query_row("SELECT version FROM meta", [], |r| r.get(0))?;
            stored.last_event = last_line(&self.connection)?.0;
            let mut statement = self.connection.prepare(rows::SELECT_SERVICES)?;
            for row in statement.query_map([], rows::service)? {
                let (name, state) = row?;
                stored.desired.services.insert(name, state);
            }
            stored.jobs = jobs::all(&self.connection)?;
            stored.last_job = last_id(&self.connection, "jobs")?;
            stored.desired.rollouts = rollouts::under_way(&self.connection)?;
            stored.last_rollout = last_id(&self.connection, "rollouts")?;
            Ok(stored)
        };
        read().map_err(failed)
    }

    fn commit(&mut self, batch: &Batch) -> Result<Vec<Event>, StoreError> {
        let failed = self.failed();
        let mut write = || -> rusqlite::Result<Vec<Event>> {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let events = written(&transaction, batch)?;
            transaction.commit()?;
            Ok(events)
        };
        write().map_err(failed)
    }

    fn receipt(&mut self, key: &str) -> Result<Option<KeptReceipt>, StoreError> {
        let oldest = (Timestamp::now() - RECEIPTS_KEPT).as_millisecond();
        let mut statement = self.connection.prepare_cached(rows::SELECT_RECEIPT).map_err(self.failed())?;
        statement.query_row(params![key, oldest], rows::receipt).optional().map_err(self.failed())
    }

    fn events(&mut self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
        let since = i64::try_from(query.since).unwrap_or(i64::MAX);
        let read = || -> rusqlite::Result<Vec<Event>> {
            let mut statement = self.connection.prepare_cached(match query.service {
                Some(_) => rows::SELECT_EVENTS_OF_SERVICE,
                None => rows::SELECT_EVENTS,
            })?;
            match &query.service {
                Some(service) => statement.query_map(params![since, limit, service], rows::event)?.collect(),
                None => statement.query_map(params![since, limit], rows::event)?.collect(),
            }
        };
        read().map_err(self.failed())
    }

    fn last_event(&mut self, service: &str, kinds: &[&str]) -> Result<Option<Event>, StoreError> {
        let read = || -> rusqlite::Result<Option<Event>> {
            let mut statement = self.connection.prepare_cached(rows::SELECT_LAST_EVENT)?;
            let kinds = serde_json::json!(kinds).to_string();
            statement.query_row(params![service, kinds], rows::event).optional()
        };
        read().map_err(self.failed())
    }

    fn rollouts(&mut self, query: &RolloutQuery) -> Result<Vec<RolloutRow>, StoreError> {
        rollouts::found(&self.connection, query).map_err(self.failed())
    }

    fn rollout(&mut self, id: u64) -> Result<Option<RolloutRow>, StoreError> {
        rollouts::one(&self.connection, id).map_err(self.failed())
    }

    fn verify(&mut self) -> Result<Verified, StoreError> {
        let read = || -> rusqlite::Result<Verified> {
            let mut statement = self.connection.prepare(rows::SELECT_CHAIN)?;
            let mut lines = statement.query([])?;
            let (mut id, mut before) = (0, GENESIS);
            while let Some(row) = lines.next()? {
                id += 1;
                match rows::checked(row, id, &before)? {
                    Some(hash) => before = hash,
                    None => return Ok(Verified::Broken(id)),
                }
            }
            Ok(Verified::Intact(id))
        };
        read().map_err(self.failed())
    }
}

fn written(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<Vec<Event>> {
    if let Some(version) = batch.version {
        transaction.prepare_cached("UPDATE meta SET version = ?1")?.execute([version])?;
    }
    for (name, state) in &batch.services {
        rows::write_service(transaction, name, state)?;
    }
    if !batch.receipts.is_empty() {
        let oldest = (Timestamp::now() - RECEIPTS_KEPT).as_millisecond();
        transaction.prepare_cached("DELETE FROM idempotency WHERE at < ?1")?.execute([oldest])?;
    }
    for key in &batch.forgotten {
        transaction.prepare_cached("DELETE FROM idempotency WHERE key = ?1")?.execute([key])?;
    }
    for receipt in &batch.receipts {
        rows::write_receipt(transaction, receipt)?;
    }
    jobs::write_jobs(transaction, &batch.jobs)?;
    rollouts::write_rollouts(transaction, &batch.rollouts)?;
    appended(transaction, &batch.events)
}

fn appended(transaction: &Transaction<'_>, lines: &[NewEvent]) -> rusqlite::Result<Vec<Event>> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let (mut id, mut before) = last_line(transaction)?;
    let mut events = Vec::with_capacity(lines.len());
    for line in lines {
        id += 1;
        before = rows::write_event(transaction, id, line, &before)?;
        events.push(Event { id, line: line.clone() });
    }
    Ok(events)
}

/// The greatest number in `table`; 0 where it is empty.
fn last_id(connection: &Connection, table: &str) -> rusqlite::Result<u64> {
    connection.query_row(&format!("SELECT coalesce(max(id), 0) FROM {table}"), [], |row| row.get(0))
}

/// Number and hash of the last event.
fn last_line(connection: &Connection) -> rusqlite::Result<(u64, Hash)> {
    connection
        .prepare_cached("SELECT id, hash FROM events ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map(|last| last.unwrap_or((0, GENESIS)))
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
