-- Sources that are gone for good, whose followers were told of it.
CREATE TABLE news_gone (
    source TEXT PRIMARY KEY,
    at     BIGINT NOT NULL
);
