CREATE TABLE meta (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    version  INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (1, 0);

-- Splits are JSON objects of percentages by group.
CREATE TABLE service_state (
    name         TEXT PRIMARY KEY,
    split        TEXT NOT NULL,
    stable_split TEXT NOT NULL,
    file_split   TEXT NOT NULL,
    salt         BLOB NOT NULL CHECK (length(salt) = 16),
    version      INTEGER NOT NULL
) STRICT;

CREATE TABLE events (
    id        INTEGER PRIMARY KEY,
    at        TEXT NOT NULL,
    actor     TEXT NOT NULL,
    kind      TEXT NOT NULL,
    service   TEXT,
    detail    TEXT NOT NULL,
    prev_hash BLOB NOT NULL,
    hash      BLOB NOT NULL
) STRICT;
CREATE INDEX events_by_service ON events (service, id);
CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are only ever added'); END;
CREATE TRIGGER events_are_not_removed BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are only ever added'); END;

-- at: milliseconds since 1970.
CREATE TABLE idempotency (
    key         TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    receipt     TEXT NOT NULL,
    at          INTEGER NOT NULL
) STRICT;
CREATE INDEX idempotency_by_age ON idempotency (at);
