-- Messages of chat doors: what came in and is worked off, what goes out, who is let in. Times are Unix milliseconds.
-- A row of the inbox stays after it is done, without its text, so that the same message is never answered twice.
CREATE TABLE inbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    door         TEXT NOT NULL,
    key          TEXT NOT NULL,
    conversation TEXT NOT NULL,
    caller       TEXT NOT NULL,
    payload      TEXT NOT NULL,
    state        TEXT NOT NULL,
    attempts     BIGINT NOT NULL DEFAULT 0,
    received_at  BIGINT NOT NULL,
    lease_owner  TEXT NOT NULL DEFAULT '',
    lease_until  BIGINT NOT NULL DEFAULT 0,
    UNIQUE (door, key)
);
CREATE INDEX inbox_open ON inbox (door, conversation, id) WHERE state <> 'done';
CREATE INDEX inbox_old ON inbox (received_at);

CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    door        TEXT NOT NULL,
    chat        TEXT NOT NULL,
    caller      TEXT NOT NULL,
    class       BIGINT NOT NULL,
    payload     TEXT NOT NULL,
    state       TEXT NOT NULL DEFAULT 'queued',
    created_at  BIGINT NOT NULL,
    not_before  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    attempts    BIGINT NOT NULL DEFAULT 0,
    uncertain   BIGINT NOT NULL DEFAULT 0,
    lease_owner TEXT NOT NULL DEFAULT '',
    lease_until BIGINT NOT NULL DEFAULT 0,
    settled_at  BIGINT NOT NULL DEFAULT 0,
    message_id  TEXT NOT NULL DEFAULT '',
    reason      TEXT NOT NULL DEFAULT ''
);
CREATE INDEX outbox_open ON outbox (door, chat, id) WHERE state IN ('queued', 'sending');
CREATE INDEX outbox_settled ON outbox (settled_at) WHERE state NOT IN ('queued', 'sending');

CREATE TABLE sessions (
    caller       TEXT PRIMARY KEY,
    door         TEXT NOT NULL,
    activated_at BIGINT NOT NULL,
    last_seen    BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    activated_by TEXT NOT NULL
) WITHOUT ROWID;
