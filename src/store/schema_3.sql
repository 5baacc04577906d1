-- Times are text (RFC 3339); payload: a JSON object, by kind. What they are is in model/job.rs.
CREATE TABLE jobs (
    id         INTEGER PRIMARY KEY,
    kind       TEXT NOT NULL,
    priority   TEXT NOT NULL,
    state      TEXT NOT NULL,
    attempts   INTEGER NOT NULL,
    created    TEXT NOT NULL,
    due        TEXT NOT NULL,
    deadline   TEXT,
    last_error TEXT,
    payload    TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, id);

-- services: a JSON list of names; body: JSON.
CREATE TABLE rollouts (
    id       INTEGER PRIMARY KEY,
    services TEXT NOT NULL,
    ended    INTEGER NOT NULL CHECK (ended IN (0, 1)),
    body     TEXT NOT NULL
) STRICT;
CREATE INDEX rollouts_under_way ON rollouts (id) WHERE ended = 0;
