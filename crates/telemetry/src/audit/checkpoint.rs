//! Checkpoints: lines of the trail that are signed with Ed25519, and by their `prev` sign every line before them.
//! The signature is the last member of the line and covers every byte before it, so that no member can be changed.
//! Invariant: only the public key is ever written. Source: inspect.md section 7; RFC 8032.

use super::AuditError;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    hmac,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use serde::Serialize;

/// The kind of such a line.
pub(super) const KIND: &str = "checkpoint";
/// What is signed begins with this, so that no signature of ours for another purpose fits.
const CONTEXT: &[u8] = b"portcullis audit checkpoint\n";
/// What the signed part ends before.
const MARK: &[u8] = b",\"sig\":\"";

/// Why a checkpoint was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reason {
    /// A process begins: whatever it found is signed as it was found.
    Start,
    /// `audit.checkpoint_secs` are over.
    Time,
    /// The file is full; the next line is in another one.
    Rotation,
    /// The process ends, as asked.
    End,
}

/// The line without its signature.
#[derive(Serialize)]
pub(super) struct Unsigned<'a> {
    pub(super) v: u32,
    pub(super) seq: u64,
    pub(super) at: jiff::Timestamp,
    pub(super) kind: &'static str,
    pub(super) reason: Reason,
    /// The public key. Scanners for secrets look at whatever is called a key.
    pub(super) signer: &'a str,
    pub(super) prev: &'a str,
}

pub(super) struct Signer {
    pair: Ed25519KeyPair,
    /// The public key, as it is written.
    pub(super) public: String,
}

impl Signer {
    /// The key pair of that secret, which may be any text of enough entropy.
    pub(super) fn new(secret: &[u8]) -> Result<Self, AuditError> {
        let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"portcullis audit sign key");
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| AuditError::SignKey)?;
        let public = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        Ok(Self { pair, public })
    }

    /// Signs the object that `line` ends with from `start` on, and closes it again.
    pub(super) fn sign(&self, line: &mut Vec<u8>, start: usize) {
        line.truncate(line.len() - 1);
        let signature = self.pair.sign(&[CONTEXT, &line[start..]].concat());
        line.extend_from_slice(MARK);
        line.extend_from_slice(BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()).as_bytes());
        line.extend_from_slice(b"\"}");
    }
}

/// The public key that belongs to a secret, as checkpoints name it.
///
/// # Errors
/// A secret that no key can be made of; does not happen.
pub fn public_key(secret: &[u8]) -> Result<String, AuditError> {
    Ok(Signer::new(secret)?.public)
}

pub(super) fn decode_key(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == 32)
}

/// Whether a whole checkpoint line is signed by that public key.
pub(super) fn holds(line: &[u8], key: &str) -> bool {
    let Some(at) = line.windows(MARK.len()).rposition(|window| window == MARK) else { return false };
    let Some(signature) = line[at + MARK.len()..].strip_suffix(b"\"}") else { return false };
    let (Ok(signature), Some(key)) = (BASE64_URL_SAFE_NO_PAD.decode(signature), decode_key(key)) else {
        return false;
    };
    UnparsedPublicKey::new(&ED25519, key).verify(&[CONTEXT, &line[..at]].concat(), &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_fits_its_line_and_key_and_no_other() {
        let (one, other) = (Signer::new(b"one").unwrap(), Signer::new(b"other").unwrap());
        let mut line = b"before {\"seq\":1,\"prev\":\"\"}".to_vec();
        one.sign(&mut line, 7);
        let line = &line[7..];
        assert!(holds(line, &one.public) && !holds(line, &other.public));
        for at in 0..line.len() {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            assert!(!holds(&changed, &one.public), "{at}");
        }
    }
}
