-- +goose Up
-- Who serves the store. A server writes its row again and again; one whose beat stands still is gone.
CREATE TABLE servers (
    id         TEXT PRIMARY KEY,
    beat       INTEGER NOT NULL,
    url        TEXT NOT NULL,
    bus        TEXT NOT NULL,
    version    TEXT NOT NULL,
    draining   INTEGER NOT NULL,
    started_at INTEGER NOT NULL
) WITHOUT ROWID;

ALTER TABLE shards ADD COLUMN owner TEXT NOT NULL DEFAULT ''; -- id of the server that claimed it, empty if nobody's
