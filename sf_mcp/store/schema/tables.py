"""The tables of the first release."""

TABLES = """
CREATE TABLE plans (
    id TEXT PRIMARY KEY,
    number INTEGER GENERATED ALWAYS AS (CAST(substr(id, 2) AS INTEGER)) STORED,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('draft', 'active', 'completed', 'cancelled')),
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE UNIQUE INDEX plans_number ON plans (number);

CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    number INTEGER GENERATED ALWAYS AS (CAST(substr(id, 2) AS INTEGER)) STORED,
    plan_id TEXT NOT NULL REFERENCES plans (id),
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    acceptance TEXT NOT NULL,
    priority INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 5),
    estimate_minutes REAL CHECK (estimate_minutes > 0),
    paths TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('proposed', 'open', 'claimed', 'waiting', 'in_review',
                                         'merged', 'closed', 'stuck', 'cancelled')),
    branch TEXT,
    base TEXT,
    reserved_for TEXT,
    reserved_until TEXT,
    ahead INTEGER NOT NULL DEFAULT 0,
    proposed_by TEXT,
    retried_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE UNIQUE INDEX tasks_number ON tasks (number);
CREATE INDEX tasks_plan ON tasks (plan_id);
CREATE INDEX tasks_state ON tasks (state);

CREATE TABLE dependencies (
    task_id TEXT NOT NULL REFERENCES tasks (id),
    depends_on TEXT NOT NULL REFERENCES tasks (id),
    PRIMARY KEY (task_id, depends_on),
    CHECK (task_id <> depends_on)
) WITHOUT ROWID;
CREATE INDEX dependencies_reverse ON dependencies (depends_on);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('worker', 'steward', 'director', 'person')),
    subject TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('starting', 'running', 'parked', 'stopping', 'exited',
                                         'backoff', 'fatal')),
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
    end_detail TEXT NOT NULL
);
CREATE INDEX sessions_state ON sessions (state);
CREATE INDEX sessions_subject ON sessions (subject);
-- two sessions that may be alive never share a name
CREATE UNIQUE INDEX one_live_session_a_name ON sessions (name)
    WHERE state IN ('starting', 'running', 'stopping', 'parked');

CREATE TABLE tokens (
    hash TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    session_id TEXT REFERENCES sessions (id),
    created_at TEXT NOT NULL,
    expires_at TEXT
);
CREATE INDEX tokens_session ON tokens (session_id);

CREATE TABLE leases (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL,
    session_id TEXT NOT NULL REFERENCES sessions (id),
    fence INTEGER NOT NULL,
    granted_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    ended_at TEXT,
    "end" TEXT,
    end_detail TEXT NOT NULL,
    CHECK ((ended_at IS NULL) = ("end" IS NULL))
);
-- one live lease per subject
CREATE UNIQUE INDEX one_live_lease_a_subject ON leases (subject) WHERE ended_at IS NULL;
-- a session works on one thing at a time
CREATE UNIQUE INDEX one_live_lease_a_session ON leases (session_id) WHERE ended_at IS NULL;
-- a fencing token is granted once
CREATE UNIQUE INDEX one_grant_a_fence ON leases (subject, fence);
CREATE INDEX leases_session ON leases (session_id);
CREATE INDEX leases_ended ON leases (ended_at);

CREATE TABLE handoffs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT NOT NULL REFERENCES tasks (id),
    session_id TEXT NOT NULL,
    progress TEXT NOT NULL,
    remaining TEXT NOT NULL,
    decisions TEXT NOT NULL,
    pitfalls TEXT NOT NULL,
    next_step TEXT NOT NULL,
    "commit" TEXT,
    snapshot TEXT,
    by_server INTEGER NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX handoffs_task ON handoffs (task_id);

CREATE TABLE repair_notes (
    task_id TEXT NOT NULL REFERENCES tasks (id),
    merge_request_id TEXT NOT NULL REFERENCES merge_requests (id),
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX repair_notes_task ON repair_notes (task_id);

CREATE TABLE questions (
    id TEXT PRIMARY KEY,
    number INTEGER GENERATED ALWAYS AS (CAST(substr(id, 2) AS INTEGER)) STORED,
    task_id TEXT REFERENCES tasks (id),
    session_id TEXT,
    text TEXT NOT NULL,
    options TEXT NOT NULL,
    context TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'answered', 'withdrawn')),
    escalated INTEGER NOT NULL,
    answer TEXT,
    answered_by TEXT NOT NULL,
    asked_at TEXT NOT NULL,
    answered_at TEXT,
    delivered_at TEXT
);
CREATE UNIQUE INDEX questions_number ON questions (number);
-- a task asks one thing at a time
CREATE UNIQUE INDEX one_open_question_a_task ON questions (task_id) WHERE state = 'open';

CREATE TABLE merge_requests (
    id TEXT PRIMARY KEY,
    number INTEGER GENERATED ALWAYS AS (CAST(substr(id, 2) AS INTEGER)) STORED,
    task_id TEXT NOT NULL REFERENCES tasks (id),
    session_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'landing', 'landed', 'sent_back', 'withdrawn')),
    branch TEXT NOT NULL,
    "commit" TEXT NOT NULL,
    base TEXT NOT NULL,
    summary TEXT NOT NULL,
    no_changes_reason TEXT NOT NULL,
    checked_tree TEXT,
    held TEXT NOT NULL,
    is_escalated INTEGER NOT NULL,
    landed_commit TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE UNIQUE INDEX merge_requests_number ON merge_requests (number);
CREATE INDEX merge_requests_state ON merge_requests (state);
-- a task has one merge request under way
CREATE UNIQUE INDEX one_live_merge_request_a_task ON merge_requests (task_id)
    WHERE state IN ('open', 'landing');
-- one landing at a time
CREATE UNIQUE INDEX one_merge_request_lands ON merge_requests (state) WHERE state = 'landing';

CREATE TABLE reviews (
    merge_request_id TEXT NOT NULL REFERENCES merge_requests (id),
    "commit" TEXT NOT NULL,
    by TEXT NOT NULL,
    role TEXT NOT NULL,
    approved INTEGER NOT NULL,
    reason TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX reviews_merge_request ON reviews (merge_request_id);

CREATE TABLE verdicts (
    tree TEXT NOT NULL,
    "check" TEXT NOT NULL,
    command TEXT NOT NULL,
    passed INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    log_path TEXT NOT NULL,
    seconds REAL NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX verdicts_tree ON verdicts (tree);

CREATE TABLE landings (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('initial', 'merge', 'upstream', 'undo')),
    merge_request_id TEXT REFERENCES merge_requests (id),
    old TEXT,
    new TEXT NOT NULL,
    tree TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intended', 'done', 'aborted')),
    is_green INTEGER,
    created_at TEXT NOT NULL,
    finished_at TEXT
);
-- one intent at a time: after a crash git says whether it happened
CREATE UNIQUE INDEX one_intent ON landings (state) WHERE state = 'intended';
-- a merge request lands once
CREATE UNIQUE INDEX lands_once ON landings (merge_request_id)
    WHERE state = 'done' AND merge_request_id IS NOT NULL;

CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    subject TEXT NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX events_subject ON events (subject);
-- events are only ever appended
CREATE TRIGGER events_are_kept BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are only ever appended'); END;
CREATE TRIGGER events_are_final BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are only ever appended'); END;

CREATE TABLE calls (
    key TEXT PRIMARY KEY,
    tool TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    result TEXT NOT NULL,
    created_at TEXT NOT NULL
);

CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
"""
