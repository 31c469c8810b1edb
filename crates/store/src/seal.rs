//! Texts of people, sealed in the database: message texts and whatever else a person said or is. A stolen file, disk or
//! backup without the key tells no text.
//!
//! Invariants: a sealed text opens only under its key and in the field it was sealed for, and a changed one not at all;
//! every text that was ever written plainly is still read; with a seal nothing personal is written plainly.
//!
//! A sealed text is `sealed:1:<key id>:<base64url of salt and AES-256-GCM box>`. Each text has a key of its own, derived
//! by HKDF-SHA256 from ours and a random salt of 24 bytes, so that no count of texts ever brings two under one nonce.
//! Sources: RFC 5869; NIST SP 800-38D section 8.3, whose bound on random nonces this avoids.

use crate::error::{Result, StoreError};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, hkdf,
};
use secrecy::{ExposeSecret as _, SecretString};
use std::{fmt, sync::Arc};

const MARK: &str = "sealed:";
const BOX: &str = "sealed:1:";
/// Before a plain text that itself begins like a sealed one.
const PLAIN: &str = "sealed:0:";
const SALT: usize = 24;
const PURPOSE: &[u8] = b"portcullis store field 1";

/// Every sealed column: table, column, and the name that both are sealed under. A table with texts of people has a row
/// here: what it holds from before it was sealed, or under an earlier key, is found by it.
pub(crate) const FIELDS: &[(&str, &str, &str)] = &[
    ("inbox", "payload", crate::inbox::PAYLOAD),
    ("outbox", "payload", crate::outbox::PAYLOAD),
    ("unconfirmed", "message", crate::unconfirmed::MESSAGE),
    ("news_dialogs", "data", crate::readers::DIALOG),
    ("news_folders", "filters", crate::readers::FILTERS),
    ("news_requests", "about", crate::readers::ABOUT),
];

/// Seals and opens texts. Cheap to clone; without a key it seals nothing.
#[derive(Clone, Default)]
pub struct Seal(Option<Arc<Keys>>);

struct Keys {
    present: Key,
    /// Earlier ones, which only open.
    retired: Vec<Key>,
    /// Whether the present one seals, or opens only too.
    seals: bool,
}

struct Key {
    id: String,
    secret: SecretString,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seal").field(&self.key_id()).finish()
    }
}

impl Key {
    fn new(secret: SecretString) -> Self {
        let mut digest = digest::Context::new(&digest::SHA256);
        digest.update(b"portcullis data key id");
        digest.update(secret.expose_secret().as_bytes());
        let id = digest.finish().as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self { id, secret }
    }

    /// The key of one text.
    fn of(&self, salt: &[u8]) -> Option<LessSafeKey> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(self.secret.expose_secret().as_bytes());
        let key = root.expand(&[PURPOSE], &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

/// No key is used twice, so the nonce need not differ.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

impl Seal {
    /// Seals with the first key; opens also what earlier ones sealed.
    #[must_use]
    pub fn new(present: SecretString, retired: impl IntoIterator<Item = SecretString>) -> Self {
        Self::with(present, retired, true)
    }

    /// Opens what these keys sealed, and seals nothing.
    #[must_use]
    pub fn opening(present: SecretString, retired: impl IntoIterator<Item = SecretString>) -> Self {
        Self::with(present, retired, false)
    }

    fn with(present: SecretString, retired: impl IntoIterator<Item = SecretString>, seals: bool) -> Self {
        let retired = retired.into_iter().map(Key::new).collect();
        Self(Some(Arc::new(Keys { present: Key::new(present), retired, seals })))
    }

    /// The public id of the key that seals, where there is one.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.0.as_ref().filter(|keys| keys.seals).map(|keys| keys.present.id.as_str())
    }

    /// Whether a key of that id is known.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.0.iter().any(|keys| std::iter::once(&keys.present).chain(&keys.retired).any(|key| key.id == id))
    }

    /// How texts sealed by the present key begin.
    pub(crate) fn prefix(&self) -> Option<String> {
        self.key_id().map(|id| format!("{BOX}{id}:"))
    }

    /// The text as it is kept in that field (`table.column`). An empty text stays empty: queries ask for it.
    #[must_use]
    pub fn seal(&self, field: &'static str, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let sealed = self.0.as_ref().filter(|keys| keys.seals).and_then(|keys| {
            let mut salt = [0_u8; SALT];
            rand::fill(&mut salt);
            let mut content = text.as_bytes().to_vec();
            let key = keys.present.of(&salt)?;
            key.seal_in_place_append_tag(nonce(), Aad::from(field), &mut content).ok()?;
            let boxed = URL_SAFE_NO_PAD.encode([&salt, content.as_slice()].concat());
            Some(format!("{BOX}{}:{boxed}", keys.present.id))
        });
        match sealed {
            Some(sealed) => sealed,
            None if text.starts_with(MARK) => format!("{PLAIN}{text}"),
            None => text.to_owned(),
        }
    }

    /// The text that was kept in that field.
    ///
    /// # Errors
    /// A key that is not here; a text that was changed, or moved from another field.
    pub fn open(&self, field: &'static str, kept: String) -> Result<String> {
        if !kept.starts_with(MARK) {
            return Ok(kept);
        }
        if let Some(plain) = kept.strip_prefix(PLAIN) {
            return Ok(plain.to_owned());
        }
        let damaged = StoreError::Damaged(field);
        let Some((id, boxed)) = kept.strip_prefix(BOX).and_then(|rest| rest.split_once(':')) else {
            return Err(damaged);
        };
        let keys = self.0.iter().flat_map(|keys| std::iter::once(&keys.present).chain(&keys.retired));
        let Some(key) = keys.into_iter().find(|key| key.id == id) else {
            return Err(StoreError::Sealed(id.to_owned()));
        };
        let opened = URL_SAFE_NO_PAD.decode(boxed).ok().and_then(|mut content| {
            let (salt, boxed) = content.split_at_mut_checked(SALT)?;
            let plain = key.of(salt)?.open_in_place(nonce(), Aad::from(field), boxed).ok()?;
            String::from_utf8(plain.to_vec()).ok()
        });
        opened.ok_or(damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIELD: &str = "inbox.payload";

    fn key(byte: char) -> SecretString {
        SecretString::from(byte.to_string().repeat(32))
    }

    proptest! {
        #[test]
        fn every_text_comes_back_and_none_is_kept_plainly(text in ".*") {
            let (seal, plain) = (Seal::new(key('a'), []), Seal::default());
            for seal in [&seal, &plain] {
                prop_assert_eq!(&seal.open(FIELD, seal.seal(FIELD, &text)).unwrap(), &text);
            }
            let kept = seal.seal(FIELD, &text);
            prop_assert!(text.is_empty() || kept.starts_with("sealed:1:"));
            prop_assert!(text.len() < 4 || !kept.contains(&text));
            prop_assert_eq!(plain.seal(FIELD, &text) == text, !text.starts_with("sealed:"));
        }

        #[test]
        fn a_changed_byte_is_never_opened(at in 9..80_usize, to in any::<u8>()) {
            let seal = Seal::new(key('a'), []);
            let mut kept = seal.seal(FIELD, "the words of a person").into_bytes();
            let at = at.min(kept.len() - 1);
            prop_assume!(to.is_ascii() && kept[at] != to);
            kept[at] = to;
            prop_assert!(seal.open(FIELD, String::from_utf8(kept).unwrap()).is_err());
        }
    }

    #[test]
    fn a_text_opens_under_its_key_and_in_its_field_only() {
        let opening = Seal::opening(key('a'), []);
        assert_eq!((opening.key_id(), opening.seal(FIELD, "hello").as_str()), (None, "hello"));
        let (old, new) = (Seal::new(key('a'), []), Seal::new(key('b'), [key('a')]));
        let kept = old.seal(FIELD, "hello");
        assert_eq!(new.open(FIELD, kept.clone()).unwrap(), "hello", "an earlier key still opens");
        assert_eq!(opening.open(FIELD, kept.clone()).unwrap(), "hello");
        assert_ne!(old.seal(FIELD, "hello"), kept, "equal texts are kept differently");
        assert!(matches!(old.open("outbox.payload", kept.clone()), Err(StoreError::Damaged(_))));
        let (other, none) = (Seal::new(key('c'), []), Seal::default());
        for seal in [other, none] {
            let said = seal.open(FIELD, kept.clone()).unwrap_err().to_string();
            assert!(said.contains(old.key_id().unwrap()) && said.contains("data_key"), "{said}");
        }
        assert!(!format!("{new:?}").contains("bbbb"));
    }
}
