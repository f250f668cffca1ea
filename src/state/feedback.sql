-- What browsers made of a release: the verdict that counts.
CREATE TABLE renders (
    build_id TEXT PRIMARY KEY REFERENCES builds (id) ON DELETE CASCADE,
    verdict  TEXT NOT NULL,
    detail   TEXT,
    by       TEXT NOT NULL,                 -- who said so: a visitor's browser, or the daemon's own check
    changes  INTEGER NOT NULL DEFAULT 0,    -- how often it became another one
    at       INTEGER NOT NULL               -- ms
) STRICT;
