-- What one replica at a time does: who does it, and until when at the latest, in Unix milliseconds.
CREATE TABLE leases (
    name  TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    until BIGINT NOT NULL
);
