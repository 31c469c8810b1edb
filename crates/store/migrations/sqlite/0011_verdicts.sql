-- Suspicious messages that pass although inspection would not let them: of one caller, or of exactly one text (its
-- SHA-256), until they end by themselves. Times are Unix milliseconds.
CREATE TABLE guard_exceptions (
    id     TEXT NOT NULL PRIMARY KEY,
    caller TEXT,
    digest TEXT,
    since  INTEGER NOT NULL,
    until  INTEGER NOT NULL,
    reason TEXT NOT NULL,
    set_by TEXT NOT NULL
);

-- Confirmations that were used, until they would not be good any more: none is used twice.
CREATE TABLE confirmations (
    id    TEXT NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL
);
