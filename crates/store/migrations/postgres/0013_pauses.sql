-- Chats that were told to wait, so that a restart waits too; an empty chat is all of them. Unix milliseconds.
CREATE TABLE pauses (
    door  TEXT NOT NULL,
    chat  TEXT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (door, chat)
);

-- Messages that show how far some work is: they go with it, or, when its process was killed, with the next one's start.
CREATE TABLE sights (
    door    TEXT NOT NULL,
    chat    TEXT NOT NULL,
    message TEXT NOT NULL,
    owner   TEXT NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (door, chat, message)
);
