//! API keys: their surface.
#![allow(missing_docs)]
use portcullis_domain::*;
#[derive(Clone)]
pub struct Keys;
pub struct NewKey {
    pub name: String,
    pub tier: Tier,
    pub scopes: Scopes,
    pub expires_at: Option<jiff::Timestamp>,
}
#[derive(serde::Serialize)]
pub struct Record {
    pub id: String,
    pub name: String,
}
pub struct Issued {
    pub key: secrecy::SecretString,
    pub record: Record,
}
impl Keys {
    pub async fn list(&self) -> Result<Vec<Record>, Failure> {
        Ok(vec![])
    }
    pub async fn issue(&self, _: NewKey) -> Result<Issued, Failure> {
        Err(Failure::DeadlineExceeded)
    }
    pub async fn revoke(&self, _: &str) -> Result<bool, Failure> {
        Ok(true)
    }
}
