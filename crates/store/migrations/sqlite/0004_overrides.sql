-- What an operator changed of a provider's safety settings, until it ends by itself. Times are Unix milliseconds.
CREATE TABLE safety_overrides (
    provider  TEXT NOT NULL,
    category  TEXT NOT NULL,
    threshold TEXT NOT NULL,
    since     BIGINT NOT NULL,
    until     BIGINT NOT NULL,
    reason    TEXT NOT NULL,
    set_by    TEXT NOT NULL,
    PRIMARY KEY (provider, category)
) WITHOUT ROWID;

-- Accounts at providers that are held for want of credit, key by key.
CREATE TABLE holds (
    dependency TEXT NOT NULL,
    lane       BIGINT NOT NULL,
    until      BIGINT NOT NULL,
    PRIMARY KEY (dependency, lane)
) WITHOUT ROWID;
