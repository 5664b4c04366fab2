"""What recovery, answers and costs are told by."""

RECOVERY = """
-- which acceptance criteria the session says are met, by number from 1
ALTER TABLE handoffs ADD COLUMN met TEXT NOT NULL DEFAULT '[]';
-- when a turn of the session was seen that had the answer
ALTER TABLE questions ADD COLUMN acknowledged_at TEXT;
CREATE INDEX questions_task ON questions (task_id);
-- answers that their session is not known to have had
CREATE INDEX questions_owed ON questions (session_id)
    WHERE state = 'answered' AND acknowledged_at IS NULL;
-- how many processes the session has had: each resume is one more
ALTER TABLE sessions ADD COLUMN starts INTEGER NOT NULL DEFAULT 0;
-- whether the task is stuck because it has cost all that it may
ALTER TABLE tasks ADD COLUMN is_over_budget INTEGER NOT NULL DEFAULT 0;
-- the calls that its last process did not see the end of, each with what came of it
ALTER TABLE sessions ADD COLUMN interrupted TEXT NOT NULL DEFAULT '[]';

-- a session that waits to be resumed keeps its name
DROP INDEX one_live_session_a_name;
CREATE UNIQUE INDEX one_live_session_a_name ON sessions (name)
    WHERE state IN ('starting', 'running', 'stopping', 'parked', 'backoff');

-- what one process of a session used on one day (UTC), as its stream said; only ever grows
CREATE TABLE usage (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    start INTEGER NOT NULL,
    day TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    coordination_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    PRIMARY KEY (session_id, start, day)
) WITHOUT ROWID;

-- what a session committed after it had lost its task, kept as a snapshot and offered to the next
CREATE TABLE late_work (
    task_id TEXT NOT NULL REFERENCES tasks (id),
    snapshot INTEGER NOT NULL,
    session_id TEXT NOT NULL,
    "commit" TEXT NOT NULL,
    subject TEXT NOT NULL,
    files TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (task_id, snapshot)
) WITHOUT ROWID;
"""
