-- +goose Up
-- Truth: shards, snapshots, journal, accounts, transfers, holds, and the directory. Projections: jobs, segments, listings, records.
-- Times are Unix microseconds, amounts micro-credits. doc columns hold the JSON of the Go value named beside them.

CREATE TABLE shards (
    shard     INTEGER PRIMARY KEY,
    epoch     INTEGER NOT NULL,
    head      INTEGER NOT NULL,          -- seq of the last journal row
    projected INTEGER NOT NULL DEFAULT 0 -- seq of the last row contained in the projections
);

CREATE TABLE snapshots (
    shard INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    sum   INTEGER NOT NULL, -- CRC-32C of shard, seq and state
    state BLOB NOT NULL,
    PRIMARY KEY (shard, seq)
);

-- One row per commit, appended. key = shard * 2^44 + seq, so that a shard's rows lie together in order without a second index.
CREATE TABLE journal (
    key    INTEGER PRIMARY KEY,
    epoch  INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    count  INTEGER NOT NULL, -- events in the row
    sum    INTEGER NOT NULL, -- CRC-32C of shard, seq, epoch, at, count and events
    events BLOB NOT NULL
);

CREATE TABLE accounts (
    id      TEXT PRIMARY KEY,
    balance INTEGER NOT NULL,
    held    INTEGER NOT NULL CHECK (held >= 0),
    CHECK (id = 'issuer' OR balance - held >= 0)
) WITHOUT ROWID;

CREATE TABLE transfers (
    shard  INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    debit  TEXT NOT NULL,
    credit TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    job    TEXT NOT NULL,
    at     INTEGER NOT NULL,
    note   TEXT NOT NULL,
    PRIMARY KEY (shard, seq, n),
    CHECK (debit <> credit OR kind = 'post')
) WITHOUT ROWID;
CREATE INDEX transfers_at ON transfers (at);
CREATE INDEX transfers_debit ON transfers (debit, at);
CREATE INDEX transfers_credit ON transfers (credit, at);
CREATE INDEX transfers_job ON transfers (job, at) WHERE job <> '';

CREATE TABLE holds (
    job     TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    amount  INTEGER NOT NULL CHECK (amount >= 0),
    posted  INTEGER NOT NULL CHECK (posted BETWEEN 0 AND amount),
    state   TEXT NOT NULL,
    at      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX holds_pending ON holds (job) WHERE state = 'pending';

CREATE TABLE jobs (
    id           TEXT PRIMARY KEY,
    shard        INTEGER NOT NULL,
    account      TEXT NOT NULL,
    state        TEXT NOT NULL,
    submitted_at INTEGER NOT NULL,
    search       TEXT NOT NULL, -- name and id in lower case
    summary      TEXT NOT NULL, -- JSON of JobSummary
    detail       BLOB           -- JSON of Job
);
CREATE INDEX jobs_submitted ON jobs (submitted_at, id);
CREATE INDEX jobs_account ON jobs (account, submitted_at, id);
CREATE INDEX jobs_state ON jobs (state, submitted_at, id);

-- Finished tasks with their attempts and charges: what one stretch of the journal made final in one block of 512 tasks. Package history has the
-- form of bytes and says what the columns mean.
CREATE TABLE segments (
    job   TEXT NOT NULL,
    stage INTEGER NOT NULL,
    block INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    part  INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    items INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (job, stage, block, seq, part)
) WITHOUT ROWID;

-- For each list by time (kind, id), the segments that hold items of it, and from when to when.
CREATE TABLE listings (
    kind     INTEGER NOT NULL,
    id       TEXT NOT NULL,
    level    INTEGER NOT NULL, -- by the time between earliest and latest
    latest   INTEGER NOT NULL,
    job      TEXT NOT NULL,
    stage    INTEGER NOT NULL,
    block    INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    part     INTEGER NOT NULL,
    earliest INTEGER NOT NULL,
    shard    INTEGER NOT NULL,
    PRIMARY KEY (kind, id, level, latest, job, stage, block, seq, part)
) WITHOUT ROWID;

CREATE TABLE records (
    worker TEXT PRIMARY KEY,
    shard  INTEGER NOT NULL,
    doc    TEXT NOT NULL -- JSON of Record
) WITHOUT ROWID;

CREATE TABLE tokens (
    id   TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE, -- SHA-256 of the secret
    doc  TEXT NOT NULL         -- JSON of Token
) WITHOUT ROWID;

CREATE TABLE invites (
    id         TEXT PRIMARY KEY,
    hash       TEXT NOT NULL UNIQUE, -- SHA-256 of the secret
    owner      TEXT NOT NULL,
    max_uses   INTEGER NOT NULL,
    uses       INTEGER NOT NULL CHECK (max_uses = 0 OR uses <= max_uses),
    revoked    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE workers (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    owner         TEXT NOT NULL,
    registered_at INTEGER NOT NULL,
    revoked       INTEGER NOT NULL,
    invite        TEXT NOT NULL,
    last_seen     INTEGER NOT NULL,
    info          TEXT NOT NULL -- JSON of WorkerInfo
) WITHOUT ROWID;

CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
