//! The form of an API key: `pcl_<id>_<secret>`, id 12 characters of lower-case base 32 (60 random bits, public),
//! secret 43 characters of base64url (256 random bits). Kept is only HMAC-SHA256 of the whole text with the pepper of
//! this installation: a stolen table can neither be used nor guessed at. Hashing once is enough for 256 random bits;
//! slow hashes are for passwords.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

const PREFIX: &str = "pcl_";
const ID_CHARS: usize = 12;
const SECRET_CHARS: usize = 43;
/// Crockford's base 32, lower case: no letters that look alike.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What is kept of a key.
pub(crate) type Digest = [u8; 32];

/// Hashes keys.
pub(crate) struct Hasher(hmac::Key);

impl Hasher {
    pub(crate) fn new(pepper: &SecretString) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, pepper.expose_secret().as_bytes()))
    }

    pub(crate) fn digest(&self, key: &str) -> Digest {
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&self.0, key.as_bytes()).as_ref());
        out
    }

    /// 32 bytes that nobody without the pepper can foresee, the same for the same bytes in every process of this
    /// installation.
    pub(crate) fn derive(&self, purpose: &str, bytes: &[u8]) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        [purpose.as_bytes(), &[0], bytes].into_iter().for_each(|piece| context.update(piece));
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }

    /// A value by which another process can tell whether it has the same pepper, and nothing else.
    pub(crate) fn fingerprint(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(&self.digest("portcullis: which pepper is this?")[..12])
    }
}

/// In constant time.
pub(crate) fn same(one: &Digest, other: &Digest) -> bool {
    one.as_slice().ct_eq(other).into()
}

/// A fresh id and the key of that id.
pub(crate) fn fresh() -> (String, SecretString) {
    let mut bits: u64 = rand::random();
    let id: String = std::iter::repeat_with(|| {
        let letter = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
        char::from(letter)
    })
    .take(ID_CHARS)
    .collect();
    let key = fresh_of(&id);
    (id, key)
}

/// A fresh key of that id.
pub(crate) fn fresh_of(id: &str) -> SecretString {
    let secret = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    SecretString::from(format!("{PREFIX}{id}_{secret}"))
}

/// Whether the text claims to be a key of ours, well-formed or not.
pub(crate) fn claims_to_be_key(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The public id of a well-formed key.
pub(crate) fn id_of(key: &str) -> Option<&str> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    let id_fine = id.len() == ID_CHARS && id.bytes().all(|byte| ALPHABET.contains(&byte));
    let secret_fine = secret.len() == SECRET_CHARS
        && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (id_fine && secret_fine).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // req: S4-KEYS
    #[test]
    fn fresh_keys_have_the_documented_form_and_never_repeat() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let (id, key) = fresh();
            assert_eq!(id_of(key.expose_secret()), Some(id.as_str()));
            assert_eq!(key.expose_secret().len(), 4 + 12 + 1 + 43);
            assert!(seen.insert(id) && seen.insert(key.expose_secret().to_owned()));
        }
    }

    #[test]
    fn only_the_same_pepper_and_the_same_key_give_the_same_digest() {
        let (one, two) = (Hasher::new(&"pepper one".into()), Hasher::new(&"pepper two".into()));
        assert!(same(&one.digest("k"), &one.digest("k")));
        assert!(!same(&one.digest("k"), &one.digest("K")) && !same(&one.digest("k"), &two.digest("k")));
        assert_ne!(one.fingerprint(), two.fingerprint());
    }

    proptest! {
        // req: S4-KEYS
        #[test]
        fn no_text_makes_the_reader_of_keys_panic(text in ".*", rest in "[a-z0-9_.=-]{0,80}") {
            let _ = id_of(&text);
            let key = format!("pcl_{rest}");
            if let Some(id) = id_of(&key) {
                prop_assert_eq!(id.len(), 12);
                prop_assert_eq!(key.len(), 60);
            }
        }
    }
}
