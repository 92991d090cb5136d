-- Who serves the store. A server writes its row again and again; one whose beat stands still is gone.
CREATE TABLE servers (
    id         TEXT COLLATE "C" PRIMARY KEY,
    beat       BIGINT NOT NULL,
    url        TEXT NOT NULL,
    bus        TEXT NOT NULL,
    version    TEXT NOT NULL,
    draining   BOOLEAN NOT NULL,
    started_at BIGINT NOT NULL
) WITH (fillfactor = 50);

ALTER TABLE shards ADD COLUMN owner TEXT NOT NULL DEFAULT ''; -- id of the server that claimed it, empty if nobody's
