"""Several merge requests in one landing, and what the train plans from."""

TRAIN = """
-- a landing may bring several merge requests at once, each as a commit of its own
CREATE TABLE landings_3 (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('initial', 'merge', 'upstream', 'undo')),
    old TEXT,
    new TEXT NOT NULL,
    tree TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intended', 'done', 'aborted')),
    is_green INTEGER,
    created_at TEXT NOT NULL,
    finished_at TEXT
);
INSERT INTO landings_3 SELECT number, kind, old, new, tree, state, is_green, created_at, finished_at
    FROM landings;
CREATE TABLE landing_requests_3 AS SELECT number, merge_request_id, new FROM landings
    WHERE merge_request_id IS NOT NULL AND state <> 'aborted';
DROP TABLE landings;
ALTER TABLE landings_3 RENAME TO landings;
-- one intent at a time: after a crash git says whether it happened
CREATE UNIQUE INDEX one_intent ON landings (state) WHERE state = 'intended';

CREATE TABLE landing_requests (
    landing INTEGER NOT NULL REFERENCES landings (number),
    position INTEGER NOT NULL,
    -- a merge request lands once: an aborted landing takes its rows away
    merge_request_id TEXT NOT NULL UNIQUE REFERENCES merge_requests (id),
    "commit" TEXT NOT NULL,
    PRIMARY KEY (landing, position)
) WITHOUT ROWID;
INSERT INTO landing_requests SELECT number, 1, merge_request_id, new FROM landing_requests_3;
DROP TABLE landing_requests_3;
DROP INDEX one_merge_request_lands;

-- what the train merged for trial, and what came of checking it
CREATE TABLE trials (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    base INTEGER NOT NULL REFERENCES landings (number),
    requests TEXT NOT NULL,
    commits TEXT NOT NULL,
    "commit" TEXT,
    tree TEXT,
    is_full INTEGER NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('running', 'passed', 'failed', 'conflicted',
                                             'not_started', 'cancelled')),
    -- the checks that failed and would not have on the target: name, command, outcome, log
    condemned TEXT NOT NULL DEFAULT '[]',
    created_at TEXT NOT NULL,
    ended_at TEXT,
    CHECK ((outcome = 'running') = (ended_at IS NULL))
);
CREATE INDEX trials_base ON trials (base);
CREATE INDEX trials_running ON trials (outcome) WHERE outcome = 'running';

-- a merge request that a steward has to merge with the target
CREATE TABLE conflicts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    merge_request_id TEXT NOT NULL REFERENCES merge_requests (id),
    state TEXT NOT NULL CHECK (state IN ('open', 'resolving', 'resolved', 'rejected', 'returned',
                                         'dropped')),
    "commit" TEXT NOT NULL,
    target TEXT NOT NULL,
    paths TEXT NOT NULL,
    messages TEXT NOT NULL,
    hunks TEXT NOT NULL,
    reason TEXT NOT NULL,
    resolution TEXT,
    note TEXT NOT NULL,
    created_at TEXT NOT NULL,
    ended_at TEXT,
    CHECK ((state IN ('open', 'resolving')) = (ended_at IS NULL))
);
CREATE INDEX conflicts_merge_request ON conflicts (merge_request_id);
-- a merge request has one conflict at a time
CREATE UNIQUE INDEX one_live_conflict_a_merge_request ON conflicts (merge_request_id)
    WHERE state IN ('open', 'resolving');

-- what conflicts a session has been told of: once for each other side and content
CREATE TABLE conflict_warnings (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    -- the other task; empty for the target
    other TEXT NOT NULL,
    content TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (session_id, other, content)
) WITHOUT ROWID;

-- the pull request that mirrors a task's merge requests, and what it was last told
CREATE TABLE pull_requests (
    task_id TEXT PRIMARY KEY REFERENCES tasks (id),
    branch TEXT NOT NULL,
    number INTEGER,
    url TEXT NOT NULL,
    pushed TEXT,
    told TEXT NOT NULL
);

-- the tests that failed, as a report of the check's names them
ALTER TABLE verdicts ADD COLUMN failing TEXT NOT NULL DEFAULT '[]';
-- what fails on the target itself is said once for each of its states
CREATE INDEX events_preexisting ON events (kind) WHERE kind = 'preexisting_failure';
"""
