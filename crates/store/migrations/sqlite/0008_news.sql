-- News: what is followed and what it published lately, with the vectors and summaries that were paid for once. Times are
-- Unix milliseconds. A source is shared by all who follow it.
CREATE TABLE news_sources (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    source        TEXT NOT NULL UNIQUE,
    kind          TEXT NOT NULL,
    title         TEXT NOT NULL DEFAULT '',
    address       TEXT NOT NULL DEFAULT '',
    moved_to      TEXT NOT NULL DEFAULT '',
    moved_times   BIGINT NOT NULL DEFAULT 0,
    etag          TEXT NOT NULL DEFAULT '',
    modified      TEXT NOT NULL DEFAULT '',
    state         TEXT NOT NULL DEFAULT 'new',
    failures      BIGINT NOT NULL DEFAULT 0,
    failing_since BIGINT NOT NULL DEFAULT 0,
    fetched_at    BIGINT NOT NULL DEFAULT 0,
    covers_since  BIGINT NOT NULL DEFAULT 0,
    next_at       BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE news_posts (
    source      BIGINT NOT NULL REFERENCES news_sources (id) ON DELETE CASCADE,
    external_id TEXT NOT NULL,
    at          BIGINT NOT NULL,
    title       TEXT NOT NULL,
    text        TEXT NOT NULL,
    url         TEXT NOT NULL,
    views       BIGINT NOT NULL,
    PRIMARY KEY (source, external_id)
);
CREATE INDEX news_posts_newest ON news_posts (source, at);
CREATE INDEX news_posts_old ON news_posts (at);

CREATE TABLE news_vectors (
    model   TEXT NOT NULL,
    hash    BIGINT NOT NULL,
    vector  BLOB NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (model, hash)
);
CREATE INDEX news_vectors_old ON news_vectors (made_at);

CREATE TABLE news_told (
    key     TEXT PRIMARY KEY,
    told    TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE INDEX news_told_old ON news_told (made_at);
