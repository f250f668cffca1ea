-- What browsers made of a release: the verdict that counts.
CREATE TABLE renders (
    build_id TEXT PRIMARY KEY REFERENCES builds (id) ON DELETE CASCADE,
    verdict  TEXT NOT NULL,
    detail   TEXT,
    by       TEXT NOT NULL,                 -- who said so: a visitor's browser, or the daemon's own check
    changes  INTEGER NOT NULL DEFAULT 0,    -- how often it became another one
    at       INTEGER NOT NULL               -- ms
) STRICT;

-- Where a project's outgoing webhooks go, besides `notify.urls`.
CREATE TABLE notify_targets (
    project_id TEXT PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    urls       TEXT NOT NULL                -- JSON: a list
) STRICT;

-- Webhooks that are still to be delivered: written with what they tell of, gone once they are taken or given up.
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice: receivers know a repetition by it
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    url        TEXT NOT NULL,
    event      TEXT NOT NULL,               -- build, render
    body       TEXT NOT NULL,               -- the status object of that moment
    created_at INTEGER NOT NULL,            -- ms
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_at    INTEGER NOT NULL             -- ms; not before: back-off
) STRICT;

CREATE INDEX outbox_due ON outbox (next_at);
CREATE INDEX outbox_of_project ON outbox (project_id, id);

-- What a project's builds are given besides its sources. Values never leave but to a build.
CREATE TABLE environments (
    project_id TEXT PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    vars       TEXT NOT NULL,               -- JSON: name -> value
    root       TEXT                         -- the app's folder, where it is not to be found by itself
) STRICT;
