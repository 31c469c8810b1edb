//! Keys that verify signatures. Invariant: a key knows its one algorithm; nothing here takes an algorithm from a token.
//! Signatures are ring's; only the wrapping of public keys (PEM, RFC 7468; SubjectPublicKeyInfo, RFC 5280) is read here.

use super::config::JwtAlg;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::{hmac, signature};

/// RFC 7518 section 3.2: a key of the hash's size or larger.
const MIN_SECRET_BYTES: usize = 32;

/// A key, fit for use.
pub(super) enum Verifier {
    Hs256(hmac::Key),
    Rs256(signature::RsaPublicKeyComponents<Box<[u8]>>),
    Es256(Box<[u8]>),
    EdDsa(Box<[u8]>),
}

impl Verifier {
    /// The key of that algorithm from its text. The error says what to do and holds nothing of the text.
    pub(super) fn new(alg: JwtAlg, text: &str) -> Result<Self, &'static str> {
        match alg {
            JwtAlg::HS256 if text.contains("-----BEGIN") => {
                Err("is a PEM, not a shared secret; set alg to RS256, ES256 or EdDSA")
            }
            JwtAlg::HS256 if text.len() < MIN_SECRET_BYTES => {
                Err("is shorter than 32 bytes; make one with `openssl rand -base64 32`")
            }
            JwtAlg::HS256 => Ok(Self::Hs256(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()))),
            JwtAlg::RS256 => rsa(text).map(Self::Rs256),
            JwtAlg::ES256 => p256(text).map(Self::Es256),
            JwtAlg::EdDSA => ed25519(text).map(Self::EdDsa),
        }
    }

    pub(super) const fn alg(&self) -> JwtAlg {
        match self {
            Self::Hs256(_) => JwtAlg::HS256,
            Self::Rs256(_) => JwtAlg::RS256,
            Self::Es256(_) => JwtAlg::ES256,
            Self::EdDsa(_) => JwtAlg::EdDSA,
        }
    }

    /// Whether the signature is right.
    pub(super) fn verify(&self, message: &[u8], given: &[u8]) -> bool {
        match self {
            Self::Hs256(key) => hmac::verify(key, message, given).is_ok(),
            Self::Rs256(key) => key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, given).is_ok(),
            Self::Es256(key) => check(&signature::ECDSA_P256_SHA256_FIXED, key, message, given),
            Self::EdDsa(key) => check(&signature::ED25519, key, message, given),
        }
    }
}

fn check(
    how: &'static dyn signature::VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    given: &[u8],
) -> bool {
    signature::UnparsedPublicKey::new(how, key).verify(message, given).is_ok()
}

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

const NOT_PEM: &str = "is no PEM public key; make one with `openssl pkey -in KEY -pubout`";
const PRIVATE: &str = "is a private key, which does not belong here; give `openssl pkey -in KEY -pubout`";

fn rsa(text: &str) -> Result<signature::RsaPublicKeyComponents<Box<[u8]>>, &'static str> {
    const OTHER: &str = "is no RSA public key, which RS256 needs";
    let key = match pem(text, "RSA PUBLIC KEY") {
        Some(key) => key,
        None => spki(text, OTHER, |algorithm| oid(algorithm).is_some_and(|(name, _)| name == RSA))?,
    };
    // SEQUENCE { INTEGER modulus, INTEGER exponent }
    let inside = der(&key, 0x30).and_then(|(inside, _)| der(inside, 0x02));
    let (modulus, rest) = inside.ok_or(OTHER)?;
    let (exponent, _) = der(rest, 0x02).ok_or(OTHER)?;
    let unsigned = |number: &[u8]| -> Box<[u8]> {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number[zeros..].into()
    };
    let (n, e) = (unsigned(modulus), unsigned(exponent));
    if !(256..=1024).contains(&n.len()) {
        return Err("is an RSA key of fewer than 2048 or more than 8192 bits");
    }
    Ok(signature::RsaPublicKeyComponents { n, e })
}

fn p256(text: &str) -> Result<Box<[u8]>, &'static str> {
    const OTHER: &str = "is no public key on P-256 (prime256v1), which ES256 needs";
    let key = spki(text, OTHER, |algorithm| {
        oid(algorithm)
            .is_some_and(|(name, rest)| name == EC && oid(rest).is_some_and(|(curve, _)| curve == P256))
    })?;
    if key.len() == 65 && key[0] == 4 { Ok(key.into()) } else { Err(OTHER) }
}

fn ed25519(text: &str) -> Result<Box<[u8]>, &'static str> {
    const OTHER: &str = "is no Ed25519 public key, which EdDSA needs";
    let key = spki(text, OTHER, |algorithm| oid(algorithm).is_some_and(|(name, _)| name == ED25519))?;
    if key.len() == 32 { Ok(key.into()) } else { Err(OTHER) }
}

/// `SEQUENCE { SEQUENCE algorithm, BIT STRING key }`: the key, if its algorithm is the wanted one.
fn spki(text: &str, other: &'static str, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, &'static str> {
    if text.contains("PRIVATE KEY-----") {
        return Err(PRIVATE);
    }
    let outer = pem(text, "PUBLIC KEY").ok_or(NOT_PEM)?;
    let (inside, _) = der(&outer, 0x30).ok_or(NOT_PEM)?;
    let (algorithm, rest) = der(inside, 0x30).ok_or(NOT_PEM)?;
    let (bits, _) = der(rest, 0x03).ok_or(NOT_PEM)?;
    match bits.split_first() {
        Some((0, key)) if wanted(algorithm) => Ok(key.to_vec()),
        Some(_) | None => Err(other),
    }
}

fn oid(input: &[u8]) -> Option<(&[u8], &[u8])> {
    der(input, 0x06)
}

/// The content of the first element, if it has that tag, and what follows it.
fn der(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?),
        _ => return None,
    };
    (found == tag && length <= rest.len()).then(|| rest.split_at(length))
}

fn pem(text: &str, label: &str) -> Option<Vec<u8>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let inside = text.split_once(&begin)?.1.split_once(&end)?.0;
    let packed: String = inside.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64_STANDARD.decode(packed).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The PEM of a public key, as `openssl pkey -pubout` writes it.
    pub(in crate::jwt) fn public_pem(algorithm: &[u8], key: &[u8]) -> String {
        let mut bits = vec![0];
        bits.extend_from_slice(key);
        let inside = [wrap(0x30, algorithm), wrap(0x03, &bits)].concat();
        let body = BASE64_STANDARD.encode(wrap(0x30, &inside));
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    }

    pub(in crate::jwt) fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, length[0], length[1]], content].concat()
    }

    pub(in crate::jwt) fn ed_pem(key: &[u8]) -> String {
        public_pem(&wrap(0x06, ED25519), key)
    }

    pub(in crate::jwt) fn p256_pem(key: &[u8]) -> String {
        public_pem(&[wrap(0x06, EC), wrap(0x06, P256)].concat(), key)
    }

    pub(in crate::jwt) fn rsa_pem(modulus: &[u8], exponent: &[u8]) -> String {
        let key = wrap(0x30, &[wrap(0x02, &[&[0], modulus].concat()), wrap(0x02, exponent)].concat());
        public_pem(&[wrap(0x06, RSA), vec![5, 0]].concat(), &key)
    }

    // req: S3-BUG-5
    #[test]
    fn a_key_of_another_family_too_short_or_private_is_refused_at_the_start() {
        let ed = ed_pem(&[7; 32]);
        for (alg, text, wrong) in [
            (JwtAlg::HS256, "short", "32 bytes"),
            (JwtAlg::HS256, ed.as_str(), "PEM"),
            (JwtAlg::RS256, ed.as_str(), "RSA"),
            (JwtAlg::ES256, ed.as_str(), "P-256"),
            (JwtAlg::EdDSA, &p256_pem(&[4; 65]), "Ed25519"),
            (JwtAlg::EdDSA, "no key at all", "PEM"),
            (JwtAlg::RS256, &rsa_pem(&[0x81; 128], &[1, 0, 1]), "2048"),
            (JwtAlg::EdDSA, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "private"),
        ] {
            let said = Verifier::new(alg, text).err().unwrap_or("accepted");
            assert!(said.contains(wrong), "{alg:?}: {said}");
        }
        assert!(Verifier::new(JwtAlg::EdDSA, &ed).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_in_a_key_file_can_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = format!(
                "-----BEGIN PUBLIC KEY-----{}-----END PUBLIC KEY-----",
                BASE64_STANDARD.encode(&bytes)
            );
            for alg in [JwtAlg::RS256, JwtAlg::ES256, JwtAlg::EdDSA] {
                drop(Verifier::new(alg, &text));
            }
        }
    }
}
