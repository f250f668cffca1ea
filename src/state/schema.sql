-- One row per project; the queue is the set of rows where wanted is ahead of finished.
CREATE TABLE projects (
    id            TEXT PRIMARY KEY,
    label         TEXT NOT NULL UNIQUE,     -- host mode's name
    wanted        INTEGER NOT NULL DEFAULT 0, -- newest accepted revision
    finished      INTEGER NOT NULL DEFAULT 0, -- newest revision whose build ended for good
    tree          TEXT,                     -- hash of the sources that `wanted` stands for
    priority      TEXT NOT NULL DEFAULT 'interactive',
    clean         INTEGER NOT NULL DEFAULT 0, -- the next build forgets the project's caches
    queued_at     INTEGER NOT NULL DEFAULT 0, -- ms; since when wanted is ahead: fairness
    accepted_at   INTEGER NOT NULL DEFAULT 0, -- ms; of `wanted`: latency
    sync_ms       INTEGER NOT NULL DEFAULT 0, -- what the sync of `wanted` took
    ready_at      INTEGER NOT NULL DEFAULT 0, -- ms; not before: back-off
    attempts      INTEGER NOT NULL DEFAULT 0, -- claims of the pending revision that failed through no fault of it
    superseded    INTEGER NOT NULL DEFAULT 0, -- builds in a row that a newer revision cut short
    lease_token   TEXT,                     -- whose claim it is; a finish with another token matches no row
    lease_until   INTEGER NOT NULL DEFAULT 0, -- ms
    running_build TEXT,
    last_build    TEXT,                     -- newest build that ended for good
    last_outcome  TEXT,
    live_build    TEXT,
    live_revision INTEGER NOT NULL DEFAULT 0,
    published_at  INTEGER NOT NULL DEFAULT 0, -- ms
    created_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX projects_pending ON projects (ready_at) WHERE wanted > finished;

CREATE TABLE builds (
    id         TEXT PRIMARY KEY,            -- ULID: sorts by time
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    retained   INTEGER NOT NULL DEFAULT 0,  -- its release is on disk
    record     TEXT NOT NULL                -- JSON: domain::BuildRecord
) STRICT;

CREATE INDEX builds_of_project ON builds (project_id, id);
CREATE INDEX builds_retained ON builds (project_id, id) WHERE retained;

-- What was learnt about a dependency set: which layout it needs, which lockfile held.
CREATE TABLE dependency_sets (
    key     TEXT PRIMARY KEY,
    layout  TEXT NOT NULL,
    reason  TEXT NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;
