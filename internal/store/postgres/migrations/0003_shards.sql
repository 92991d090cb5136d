-- Every shard keeps a record of its own of each worker.
ALTER TABLE records DROP CONSTRAINT records_pkey;
ALTER TABLE records ADD PRIMARY KEY (worker, shard);

-- Of a row that spends credits: how far the journals of the other shards had come when they were compared with what is available, as "0:17 3:4".
ALTER TABLE journal ADD COLUMN seen TEXT NOT NULL DEFAULT '';
