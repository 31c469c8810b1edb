-- Budgets that were redefined at run time, over those of the settings: JSON of the crate that owns its meaning.
CREATE TABLE budget_definitions (
    name        TEXT PRIMARY KEY,
    definition  TEXT NOT NULL,
    changed_seq BIGINT NOT NULL
);
