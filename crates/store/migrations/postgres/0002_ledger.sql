-- One row for each call to a provider that was paid for, never changed but for its money (when a price is corrected).
-- `at` is when its budget was reserved, so that a window's sum is the sum of the rows that began in it.
CREATE TABLE ledger (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        BIGINT NOT NULL,
    request   TEXT NOT NULL,
    caller    TEXT NOT NULL,
    person    TEXT NOT NULL,
    key_id    TEXT NOT NULL,
    team      TEXT NOT NULL,
    tier      TEXT NOT NULL,
    route     TEXT NOT NULL,
    provider  TEXT NOT NULL,
    model     TEXT NOT NULL,
    input     BIGINT NOT NULL,
    cached    BIGINT NOT NULL,
    output    BIGINT NOT NULL,
    micros    BIGINT NOT NULL,
    price     TEXT NOT NULL,
    estimated BIGINT NOT NULL,
    unpriced  BIGINT NOT NULL
);
CREATE INDEX ledger_at ON ledger (at);

-- What was summed by day before there was a ledger stays visible as one row each.
INSERT INTO ledger (at, request, caller, person, key_id, team, tier, route, provider, model, input, cached, output,
                    micros, price, estimated, unpriced)
SELECT CAST(EXTRACT(EPOCH FROM CAST(day AS DATE)) AS BIGINT) * 1000, '', caller, caller, '', '', '', '', '', model, input, 0, output,
       0, '', 0, 1
FROM usage;
DROP TABLE usage;
ALTER TABLE usage_batches RENAME TO ledger_batches;

-- Budgets raised for the rest of one window.
CREATE TABLE budget_raises (
    budget       TEXT NOT NULL,
    subject      TEXT NOT NULL,
    window_start BIGINT NOT NULL,
    tokens       BIGINT NOT NULL,
    micros       BIGINT NOT NULL,
    PRIMARY KEY (budget, subject, window_start)
);

-- Budgets changed at run time, over those of the configuration.
CREATE TABLE budgets (
    name       TEXT PRIMARY KEY,
    definition TEXT NOT NULL
);
