//! How callers are called in the trail: `h:<key id>.<hash>`, HMAC-SHA256 of the id. The same caller has the same name
//! as long as the key is the same; only who holds the key can say whose name it is, and only by trying. The key id
//! tells which key of several it was. Source: inspect.md section 7.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{digest, hmac};

/// One key, ready to name callers.
pub struct Pseudonyms {
    key: hmac::Key,
    id: String,
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pseudonyms").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Pseudonyms {
    /// Names by that key.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        let id = digest::digest(&digest::SHA256, &[b"audit id key ", key].concat());
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            id: BASE64_URL_SAFE_NO_PAD.encode(&id.as_ref()[..3]),
        }
    }

    /// What the key is called in names.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.id
    }

    /// The name of that caller.
    #[must_use]
    pub fn of(&self, caller: &str) -> String {
        let tag = hmac::sign(&self.key, caller.as_bytes());
        format!("h:{}.{}", self.id, BASE64_URL_SAFE_NO_PAD.encode(&tag.as_ref()[..16]))
    }
}
