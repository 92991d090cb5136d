-- Truth: shards, snapshots, journal, accounts, transfers, holds, and the directory. For reading: jobs,
-- segments, listings, records.
-- Times are Unix microseconds, amounts micro-credits. doc columns hold the JSON of the Go value named beside them.
-- Names sort by their bytes, as in the program, whatever the database's own order is. Text that people wrote is kept as bytes: it may hold any.
-- Rows that change often leave room in their pages, so that a change needs no new index entry.

CREATE TABLE shards (
    shard INT PRIMARY KEY,
    epoch BIGINT NOT NULL,
    head  BIGINT NOT NULL -- seq of the last journal row
) WITH (fillfactor = 10);

-- Apart from shards, so that a projection and a commit never wait for each other.
CREATE TABLE projected (
    shard INT PRIMARY KEY,
    seq   BIGINT NOT NULL -- of the last row contained in the tables for reading
) WITH (fillfactor = 10);

-- A snapshot is cut into parts: some databases bound the size of a row.
CREATE TABLE snapshots (
    shard INT NOT NULL,
    seq   BIGINT NOT NULL,
    part  INT NOT NULL,
    sum   BIGINT NOT NULL, -- CRC-32C of shard, seq and the whole state
    state BYTEA NOT NULL,
    PRIMARY KEY (shard, seq, part)
);

-- One row per commit, appended.
CREATE TABLE journal (
    shard  INT NOT NULL,
    seq    BIGINT NOT NULL,
    epoch  BIGINT NOT NULL,
    at     BIGINT NOT NULL,
    count  BIGINT NOT NULL, -- events in the row
    sum    BIGINT NOT NULL, -- CRC-32C of shard, seq, epoch, at, count and events
    events BYTEA NOT NULL,
    PRIMARY KEY (shard, seq)
);

-- An account is the sum of its parts, one for each shard that moved its credits. Only that shard's commits write a part, so that shards whose jobs pay
-- the same owners do not wait for each other. A part alone may be below zero.
CREATE TABLE accounts (
    id      TEXT COLLATE "C" NOT NULL,
    shard   INT NOT NULL,
    balance BIGINT NOT NULL,
    held    BIGINT NOT NULL,
    PRIMARY KEY (id, shard)
) WITH (fillfactor = 50);

-- Locked by whoever places a hold on an account's credits or gives them away: what is available must not be spent twice.
CREATE TABLE spenders (
    id TEXT COLLATE "C" PRIMARY KEY
);

CREATE TABLE transfers (
    shard  INT NOT NULL,
    seq    BIGINT NOT NULL,
    n      BIGINT NOT NULL,
    kind   TEXT NOT NULL,
    debit  TEXT COLLATE "C" NOT NULL,
    credit TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL CHECK (amount > 0),
    job    TEXT COLLATE "C" NOT NULL,
    at     BIGINT NOT NULL,
    note   BYTEA NOT NULL,
    PRIMARY KEY (shard, seq, n),
    CHECK (debit <> credit OR kind = 'post')
);
CREATE INDEX transfers_at ON transfers (at);
CREATE INDEX transfers_debit ON transfers (debit, at);
CREATE INDEX transfers_credit ON transfers (credit, at);
CREATE INDEX transfers_job ON transfers (job, at) WHERE job <> '';

CREATE TABLE holds (
    job     TEXT COLLATE "C" PRIMARY KEY,
    account TEXT COLLATE "C" NOT NULL,
    amount  BIGINT NOT NULL CHECK (amount >= 0),
    posted  BIGINT NOT NULL CHECK (posted BETWEEN 0 AND amount),
    state   TEXT NOT NULL,
    at      BIGINT NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX holds_pending ON holds (job) WHERE state = 'pending';

CREATE TABLE jobs (
    id           TEXT COLLATE "C" PRIMARY KEY,
    shard        INT NOT NULL,
    account      TEXT COLLATE "C" NOT NULL,
    state        TEXT NOT NULL,
    submitted_at BIGINT NOT NULL,
    search       TEXT NOT NULL, -- name and id in lower case
    summary      TEXT NOT NULL, -- JSON of JobSummary
    detail       BYTEA          -- JSON of Job
);
CREATE INDEX jobs_submitted ON jobs (submitted_at, id);
CREATE INDEX jobs_account ON jobs (account, submitted_at, id);
CREATE INDEX jobs_state ON jobs (state, submitted_at, id);

-- Finished tasks with their attempts and charges: what one stretch of the journal made final in one block of 512 tasks. Package history has the
-- form of bytes and says what the columns mean.
CREATE TABLE segments (
    job   TEXT COLLATE "C" NOT NULL,
    stage INT NOT NULL,
    block INT NOT NULL,
    seq   BIGINT NOT NULL,
    part  INT NOT NULL,
    shard INT NOT NULL,
    items BIGINT NOT NULL,
    bytes BYTEA NOT NULL,
    PRIMARY KEY (job, stage, block, seq, part)
);

-- For each list by time (kind, id), the segments that hold items of it, and from when to when.
CREATE TABLE listings (
    kind     INT NOT NULL,
    id       TEXT COLLATE "C" NOT NULL,
    level    INT NOT NULL, -- by the time between earliest and latest
    latest   BIGINT NOT NULL,
    job      TEXT COLLATE "C" NOT NULL,
    stage    INT NOT NULL,
    block    INT NOT NULL,
    seq      BIGINT NOT NULL,
    part     INT NOT NULL,
    earliest BIGINT NOT NULL,
    shard    INT NOT NULL,
    PRIMARY KEY (kind, id, level, latest, job, stage, block, seq, part)
);

CREATE TABLE records (
    worker TEXT COLLATE "C" PRIMARY KEY,
    shard  INT NOT NULL,
    doc    TEXT NOT NULL -- JSON of Record
) WITH (fillfactor = 50);

CREATE TABLE tokens (
    id   TEXT COLLATE "C" PRIMARY KEY,
    hash TEXT COLLATE "C" NOT NULL UNIQUE, -- SHA-256 of the secret
    doc  TEXT NOT NULL                     -- JSON of Token
);

CREATE TABLE invites (
    id         TEXT COLLATE "C" PRIMARY KEY,
    hash       TEXT COLLATE "C" NOT NULL UNIQUE, -- SHA-256 of the secret
    owner      TEXT NOT NULL,
    max_uses   BIGINT NOT NULL,
    uses       BIGINT NOT NULL,
    revoked    BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CHECK (max_uses = 0 OR uses <= max_uses)
);

CREATE TABLE workers (
    id            TEXT COLLATE "C" PRIMARY KEY,
    name          BYTEA NOT NULL,
    owner         TEXT NOT NULL,
    registered_at BIGINT NOT NULL,
    revoked       BOOLEAN NOT NULL,
    invite        TEXT NOT NULL,
    last_seen     BIGINT NOT NULL,
    info          TEXT NOT NULL -- JSON of WorkerInfo
) WITH (fillfactor = 50);

CREATE TABLE settings (
    key   TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);
