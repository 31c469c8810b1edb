-- Conversations that nothing reaches, until somebody writes there again. Times are Unix milliseconds.
CREATE TABLE chats (
    conversation   TEXT PRIMARY KEY,
    unreachable_at BIGINT NOT NULL,
    reason         TEXT NOT NULL
) WITHOUT ROWID;

-- The head and the urgency of each chat are read from the index alone.
DROP INDEX outbox_open;
CREATE INDEX outbox_open ON outbox (door, chat, id, class) WHERE state IN ('queued', 'sending');
-- Whose menu a pressed button belongs to.
CREATE INDEX outbox_message ON outbox (door, chat, message_id) WHERE message_id <> '';
