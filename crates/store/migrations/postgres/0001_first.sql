-- Times are Unix milliseconds. Every change to a row that other replicas must hear of takes the next number of
-- meta('changes') in its own transaction, so that numbers are committed in order and a reader that has seen N has seen
-- everything up to N.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL,
    note  TEXT NOT NULL DEFAULT ''
);
INSERT INTO meta (name, value) VALUES ('changes', 0);

CREATE TABLE api_keys (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    digest      BYTEA NOT NULL,
    tier        TEXT NOT NULL,
    scopes      TEXT NOT NULL,
    routes      TEXT NOT NULL,
    labels      TEXT NOT NULL,
    origin      TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT,
    revoked_at  BIGINT,
    changed_seq BIGINT NOT NULL
);
CREATE INDEX api_keys_changed ON api_keys (changed_seq);

CREATE TABLE tiers (
    name        TEXT PRIMARY KEY,
    definition  TEXT NOT NULL,
    changed_seq BIGINT NOT NULL
);

CREATE TABLE revocations (
    kind        TEXT NOT NULL,
    value       TEXT NOT NULL,
    until       BIGINT NOT NULL,
    changed_seq BIGINT NOT NULL,
    PRIMARY KEY (kind, value)
);
CREATE INDEX revocations_changed ON revocations (changed_seq);

CREATE TABLE usage (
    day      TEXT NOT NULL,
    caller   TEXT NOT NULL,
    model    TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input    BIGINT NOT NULL,
    output   BIGINT NOT NULL,
    PRIMARY KEY (day, caller, model)
);

-- Batches of usage that were added: a batch whose commit got lost on the way back is sent again and not added twice.
CREATE TABLE usage_batches (
    id       TEXT PRIMARY KEY,
    added_at BIGINT NOT NULL
);
