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

-- since when a person works in the session in place of the launcher
ALTER TABLE sessions ADD COLUMN taken_over_at TEXT;
"""
