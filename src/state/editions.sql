-- The newest edition of each layer: what of its packages was bundled for browsers, for one variant of settings.
CREATE TABLE editions (
    layer   TEXT NOT NULL,                  -- whose packages
    variant TEXT NOT NULL,                  -- JSON: what a project's configuration means for packages
    id      TEXT NOT NULL,                  -- its folder in layers/
    files   TEXT NOT NULL,                  -- JSON: the modules that were asked for
    failure TEXT,                           -- why there is none; asked for more, it is tried again
    made_at INTEGER NOT NULL,               -- ms
    PRIMARY KEY (layer, variant)
) STRICT;
