-- What binds a key beside tier and scopes, as JSON of the crate that owns its meaning; and, while a rotated key's
-- former text is still good, that text's digest and until when.
ALTER TABLE api_keys ADD COLUMN bounds TEXT NOT NULL DEFAULT '{}';
ALTER TABLE api_keys ADD COLUMN old_digest BLOB;
ALTER TABLE api_keys ADD COLUMN old_until BIGINT;
