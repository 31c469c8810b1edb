-- People who read news: their folders, what they follow, what they were given. Times are Unix milliseconds.
CREATE TABLE news_people (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    caller       TEXT NOT NULL UNIQUE,
    conversation TEXT NOT NULL,
    lang         TEXT NOT NULL DEFAULT '',
    told_in      TEXT NOT NULL DEFAULT '',
    zone         TEXT NOT NULL DEFAULT '',
    plan         TEXT NOT NULL DEFAULT '',
    folder       BIGINT NOT NULL DEFAULT 0,
    window_hours BIGINT NOT NULL DEFAULT 0,
    stories      BIGINT NOT NULL DEFAULT 0,
    banned       BIGINT NOT NULL DEFAULT 0,
    created_at   BIGINT NOT NULL,
    seen_at      BIGINT NOT NULL
);
CREATE INDEX news_people_seen ON news_people (seen_at);

CREATE TABLE news_folders (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person     BIGINT NOT NULL REFERENCES news_people (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    folded     TEXT NOT NULL,
    filters    TEXT NOT NULL DEFAULT '',
    created_at BIGINT NOT NULL,
    UNIQUE (person, folded)
);

CREATE TABLE news_follows (
    folder   BIGINT NOT NULL REFERENCES news_folders (id) ON DELETE CASCADE,
    source   TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    PRIMARY KEY (folder, source)
);
CREATE INDEX news_follows_source ON news_follows (source);

-- What was asked for, one row each: reserved while it is made, then charged, or released.
CREATE TABLE news_ledger (
    key         TEXT PRIMARY KEY,
    person      BIGINT NOT NULL REFERENCES news_people (id) ON DELETE CASCADE,
    kind        TEXT NOT NULL,
    day         TEXT NOT NULL,
    state       TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    at          BIGINT NOT NULL
);
CREATE INDEX news_ledger_day ON news_ledger (person, kind, day);
CREATE INDEX news_ledger_old ON news_ledger (at);

-- What was given: the key makes it once.
CREATE TABLE news_digests (
    key      TEXT PRIMARY KEY,
    person   BIGINT NOT NULL REFERENCES news_people (id) ON DELETE CASCADE,
    folder   BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    stories  BIGINT NOT NULL,
    degraded BIGINT NOT NULL
);
CREATE INDEX news_digests_person ON news_digests (person, at);
CREATE INDEX news_digests_old ON news_digests (at);

CREATE TABLE news_shown (
    person  BIGINT NOT NULL REFERENCES news_people (id) ON DELETE CASCADE,
    hash    BIGINT NOT NULL,
    sources BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (person, hash)
);
CREATE INDEX news_shown_old ON news_shown (at);

CREATE TABLE news_schedules (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person     BIGINT NOT NULL REFERENCES news_people (id) ON DELETE CASCADE,
    folder     BIGINT NOT NULL REFERENCES news_folders (id) ON DELETE CASCADE,
    cron       TEXT NOT NULL,
    zone       TEXT NOT NULL,
    target     TEXT NOT NULL,
    stories    BIGINT NOT NULL DEFAULT 0,
    layout     TEXT NOT NULL DEFAULT '',
    told_in    TEXT NOT NULL DEFAULT '',
    quiet      TEXT NOT NULL DEFAULT '',
    if_empty   TEXT NOT NULL DEFAULT 'skip',
    paused     TEXT NOT NULL DEFAULT '',
    fails      BIGINT NOT NULL DEFAULT 0,
    next_at    BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX news_schedules_due ON news_schedules (next_at) WHERE paused = '';
CREATE INDEX news_schedules_person ON news_schedules (person);

-- One planned minute of a schedule, made once over restarts and replicas.
CREATE TABLE news_fires (
    schedule    BIGINT NOT NULL REFERENCES news_schedules (id) ON DELETE CASCADE,
    planned     BIGINT NOT NULL,
    state       TEXT NOT NULL,
    attempts    BIGINT NOT NULL DEFAULT 0,
    not_before  BIGINT NOT NULL,
    lease_owner TEXT NOT NULL DEFAULT '',
    lease_until BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (schedule, planned)
);
CREATE INDEX news_fires_open ON news_fires (not_before) WHERE state IN ('queued', 'running');
CREATE INDEX news_fires_old ON news_fires (planned);

CREATE TABLE news_dialogs (
    conversation TEXT NOT NULL,
    caller       TEXT NOT NULL,
    state        TEXT NOT NULL,
    data         TEXT NOT NULL,
    expires_at   BIGINT NOT NULL,
    PRIMARY KEY (conversation, caller)
);

-- What may still be undone.
CREATE TABLE news_undo (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person     BIGINT NOT NULL REFERENCES news_people (id) ON DELETE CASCADE,
    folder     BIGINT NOT NULL REFERENCES news_folders (id) ON DELETE CASCADE,
    sources    TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE news_blocked (
    source TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    at     BIGINT NOT NULL
);

-- What owners of channels ask for.
CREATE TABLE news_requests (
    id     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    caller TEXT NOT NULL,
    kind   TEXT NOT NULL,
    source TEXT NOT NULL,
    topic  TEXT NOT NULL,
    about  TEXT NOT NULL,
    state  TEXT NOT NULL DEFAULT 'open',
    at     BIGINT NOT NULL
);

-- How much is asked, by day, for administrators.
CREATE TABLE news_use (
    day   TEXT NOT NULL,
    kind  TEXT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (day, kind)
);
