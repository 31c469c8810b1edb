-- Messages that inspection asked about and that wait for their senders to say that they are meant: of each sender in
-- each conversation the newest. The message with its proof is sealed. Times are Unix milliseconds.
CREATE TABLE unconfirmed (
    door         TEXT NOT NULL,
    conversation TEXT NOT NULL,
    caller       TEXT NOT NULL,
    message      TEXT NOT NULL,
    until        BIGINT NOT NULL,
    PRIMARY KEY (door, conversation, caller)
);
