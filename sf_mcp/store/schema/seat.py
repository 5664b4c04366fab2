"""What the person and the director's seat are remembered by."""

SEAT = """
-- a browser that the person has opened the page in: both secrets are needed, and neither is kept
CREATE TABLE browsers (
    hash TEXT PRIMARY KEY,
    -- of what the page keeps for itself: a cookie goes to every port of this host, this does not
    key_hash TEXT NOT NULL,
    created_at TEXT NOT NULL,
    seen_at TEXT NOT NULL,
    expires_at TEXT NOT NULL
);

-- a person's own Claude Code session as director, and the newest event that it was told of
CREATE TABLE seats (
    client_session TEXT PRIMARY KEY,
    told INTEGER NOT NULL,
    context_tokens INTEGER NOT NULL,
    context_window INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    seen_at TEXT NOT NULL,
    -- kept after its end: the client can go on with it, and is then told what it has missed
    ended_at TEXT
);

-- what the person's command was run for: once for each thing
CREATE TABLE notifications (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (kind, subject)
) WITHOUT ROWID;

-- which task came of which part of an imported plan, so that importing it again adds none
CREATE TABLE imported_tasks (
    plan_id TEXT NOT NULL REFERENCES plans (id),
    key TEXT NOT NULL,
    task_id TEXT NOT NULL REFERENCES tasks (id),
    PRIMARY KEY (plan_id, key)
) WITHOUT ROWID;

-- a session may be taken over by a person: one more state, and since when it is so
PRAGMA defer_foreign_keys = ON;
CREATE TABLE sessions_4 AS SELECT * FROM sessions;
DROP TABLE sessions;
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('worker', 'steward', 'director', 'person')),
    subject TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('starting', 'running', 'parked', 'stopping', 'taken_over',
                                         'exited', 'backoff', 'fatal')),
    model TEXT NOT NULL,
    pid INTEGER,
    process_started TEXT NOT NULL,
    is_turn_active INTEGER NOT NULL,
    last_line TEXT NOT NULL,
    context_tokens INTEGER NOT NULL,
    context_window INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    stop_requested TEXT NOT NULL,
    nudges INTEGER NOT NULL,
    log_path TEXT NOT NULL,
    created_at TEXT NOT NULL,
    heard_at TEXT NOT NULL,
    ended_at TEXT,
    "end" TEXT,
    end_detail TEXT NOT NULL,
    starts INTEGER NOT NULL DEFAULT 0,
    interrupted TEXT NOT NULL DEFAULT '[]',
    taken_over_at TEXT,
    CHECK ((state = 'taken_over') = (taken_over_at IS NOT NULL)),
    -- a reviewer's or a director's place is not for writing in
    CHECK (state <> 'taken_over' OR role = 'worker')
);
INSERT INTO sessions SELECT *, NULL FROM sessions_4;
DROP TABLE sessions_4;
CREATE INDEX sessions_state ON sessions (state);
CREATE INDEX sessions_subject ON sessions (subject);
-- two sessions that may be alive, or go on, never share a name
CREATE UNIQUE INDEX one_live_session_a_name ON sessions (name)
    WHERE state IN ('starting', 'running', 'stopping', 'taken_over', 'parked', 'backoff');

-- the person who works in a session, or waits to: one at a time
CREATE TABLE takeovers (
    session_id TEXT PRIMARY KEY REFERENCES sessions (id),
    by TEXT NOT NULL,
    pid INTEGER NOT NULL,
    process_started TEXT NOT NULL,
    is_urgent INTEGER NOT NULL,
    asked_at TEXT NOT NULL,
    head TEXT
) WITHOUT ROWID;
"""
