-- +goose Up
-- Every shard keeps a record of its own of each worker.
CREATE TABLE records_new (
    worker TEXT NOT NULL,
    shard  INTEGER NOT NULL,
    doc    TEXT NOT NULL, -- JSON of Record
    PRIMARY KEY (worker, shard)
) WITHOUT ROWID;
INSERT INTO records_new SELECT worker, shard, doc FROM records;
DROP TABLE records;
ALTER TABLE records_new RENAME TO records;

-- Of a row that spends credits: how far the journals of the other shards had come when they were compared with what is available, as "0:17 3:4".
ALTER TABLE journal ADD COLUMN seen TEXT NOT NULL DEFAULT '';
