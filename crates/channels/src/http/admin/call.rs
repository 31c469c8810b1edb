//! How every admin call is served: identity and limits, scope, what changes may cost, their turn, `If-Match`, the
//! work, its proof, the answer. A handler only does the work.

use crate::http::{Door, answer, answer::Schema, body, governed, operations::peer, rest};
use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use portcullis_domain::{Action, Deadline, Door as DoorName, Failure, RequestId, Scope};
use portcullis_engine::{Admitted, Views};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{borrow::Cow, collections::BTreeMap, future::Future, hash::Hasher as _, pin::Pin, time::Duration};

/// Largest body of an admin call, in bytes: a settings file fits.
const MAX_BODY_BYTES: usize = 4_194_304;
/// Longest proof of a state before or after, in bytes.
const MAX_STATE: usize = 900;

/// What a call costs beside the admission that every request pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// Looking is free.
    Read,
    /// Counts among the changes of a minute.
    Change,
    /// Counts among the work on the configuration of a minute.
    Config,
}

/// The future of a handler.
pub(super) type Doing<'a> = Pin<Box<dyn Future<Output = Result<Done, Refused>> + Send + 'a>>;

/// One row of the table.
pub(super) struct Row {
    pub(super) method: Method,
    /// In axum's syntax.
    pub(super) path: &'static str,
    pub(super) cost: Cost,
    pub(super) summary: &'static str,
    pub(super) run: for<'a> fn(&'a Ctx<'a>) -> Doing<'a>,
}

impl Row {
    pub(super) const fn scope(&self) -> Scope {
        match self.cost {
            Cost::Read => Scope::AdminRead,
            Cost::Change | Cost::Config => Scope::AdminWrite,
        }
    }
}

/// Writes the table: method, path, cost, handler, summary.
macro_rules! rows {
    ($($method:ident $path:literal $cost:ident $module:ident::$handler:ident $summary:literal;)*) => {
        /// Every row.
        static ROWS: [Row; [$($path),*].len()] = [$(Row {
            method: Method::$method,
            path: $path,
            cost: $crate::http::admin::call::rows!(@ $cost),
            summary: $summary,
            run: |ctx| Box::pin($module::$handler(ctx)),
        }),*];
    };
    (@ read) => { $crate::http::admin::call::Cost::Read };
    (@ change) => { $crate::http::admin::call::Cost::Change };
    (@ config) => { $crate::http::admin::call::Cost::Config };
}
pub(super) use rows;

/// What a handler works with.
pub(super) struct Ctx<'a> {
    pub(super) door: &'a Door,
    pub(super) admitted: &'a Admitted,
    params: &'a [String],
    query: BTreeMap<String, String>,
    body: Value,
}

impl Ctx<'_> {
    /// A variable segment of the path, from 0.
    pub(super) fn param(&self, place: usize) -> &str {
        self.params.get(place).map_or("", String::as_str)
    }

    /// A member of the query.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// The body as it came; null when there is none.
    pub(super) const fn body(&self) -> &Value {
        &self.body
    }

    /// The body, typed.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        typed(self.body.clone())
    }
}

/// A value, typed; the words of the error name the member.
pub(super) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    let value = if value.is_null() { json!({}) } else { value };
    serde_json::from_value(value)
        .map_err(|error| Failure::invalid("body", format!("The body does not fit: {error}.")))
}

/// What was done.
pub(super) struct Done {
    status: StatusCode,
    body: Answered,
    proof: Option<Proof>,
}

enum Answered {
    Json(Value),
    Csv(String),
}

/// A change, for the audit trail.
struct Proof {
    kind: &'static str,
    target: String,
    before: Value,
    after: Value,
}

impl Done {
    /// An answer that changed nothing.
    pub(super) const fn shown(value: Value) -> Self {
        Self { status: StatusCode::OK, body: Answered::Json(value), proof: None }
    }

    /// A table for spreadsheets.
    pub(super) const fn csv(text: String) -> Self {
        Self { status: StatusCode::OK, body: Answered::Csv(text), proof: None }
    }

    /// A change: what, of which thing, from what to what. The answer is what it is now.
    pub(super) fn changed(
        kind: &'static str,
        target: impl Into<String>,
        before: Value,
        after: Value,
    ) -> Self {
        let proof = Some(Proof { kind, target: target.into(), before, after: after.clone() });
        Self { status: StatusCode::OK, body: Answered::Json(after), proof }
    }

    /// The same answer with another status and body.
    pub(super) fn answering(self, status: StatusCode, value: Value) -> Self {
        Self { status, body: Answered::Json(value), ..self }
    }
}

/// Why it was not done.
pub(super) enum Refused {
    /// As at every door.
    Failure(Failure),
    /// The thing is not what the caller saw.
    Stale,
    /// The settings cannot be used; all their problems.
    Unusable(Value),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Serves one call of a row.
pub(super) async fn serve(
    door: &Door,
    row: &'static Row,
    params: Vec<String>,
    request: Request<Body>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let inbound = governed::inbound(door, DoorName::Admin, Action::Admin, peer(&head.extensions), &head);
    let id = inbound.id;
    let admitted = match door.engine.enter(inbound).await {
        Ok(admitted) => admitted,
        Err(refused) => return door.refuse(Schema::Rest, &refused.failure, &id, &refused.views),
    };
    let worked = async {
        allowed(door, row, &admitted).await?;
        let limits = body::BodyLimits { max_bytes: MAX_BODY_BYTES, timeout: door.body_timeout };
        let deadline = Deadline::after(Duration::from_secs(door.gateway.timeout_secs));
        let bytes = body::read_json(&head.headers, body, limits, deadline).await?;
        let query = query(head.uri.query().unwrap_or_default());
        let ctx = Ctx { door, admitted: &admitted, params: &params, query, body: parsed(&bytes)? };
        work(row, &ctx, &head.headers).await
    };
    match worked.await {
        Ok(done) => {
            let views = admitted.done();
            answered(door, row, done, &id, &views)
        }
        Err(Refused::Failure(failure)) => {
            let views = admitted.refuse(failure.clone()).await.views;
            door.refuse(Schema::Rest, &failure, &id, &views)
        }
        Err(Refused::Stale) => {
            let words =
                "It was changed since you read it; read it again and decide anew. Nothing was changed.";
            refused(door, admitted, StatusCode::PRECONDITION_FAILED, words, None, &id).await
        }
        Err(Refused::Unusable(report)) => {
            let words =
                "These settings cannot be used; details.problems names everything. Nothing was changed.";
            refused(door, admitted, StatusCode::BAD_REQUEST, words, Some(report), &id).await
        }
    }
}

/// The scope, and what changes may cost in a minute.
async fn allowed(door: &Door, row: &Row, admitted: &Admitted) -> Result<(), Failure> {
    let scope = row.scope();
    if !admitted.caller().scopes.has(scope) {
        return Err(Failure::Forbidden(format!("This key lacks the scope {}.", scope.as_str()).into()));
    }
    match row.cost {
        Cost::Read => Ok(()),
        Cost::Change => admitted.charge("admin_changes", door.admin.changes_per_min).await,
        Cost::Config => admitted.charge("admin_config", door.admin.config_per_min).await,
    }
}

/// The work; changes take turns, so that nothing changes between the look of `If-Match` and the change itself.
async fn work(row: &Row, ctx: &Ctx<'_>, headers: &HeaderMap) -> Result<Done, Refused> {
    let changes = row.cost != Cost::Read;
    let _turn = if changes { Some(ctx.door.changes.lock().await) } else { None };
    if changes && let Some(wanted) = headers.get(header::IF_MATCH) {
        let now = current(row, ctx).await?;
        let wanted = wanted.to_str().unwrap_or_default();
        let fits = wanted.split(',').map(str::trim).any(|tag| tag == "*" || Some(tag) == now.as_deref());
        if !fits {
            return Err(Refused::Stale);
        }
    }
    let done = (row.run)(ctx).await?;
    if let Some(Proof { kind, target, before, after }) = &done.proof {
        let state = |value: &Value| {
            let mut text = value.to_string();
            text.truncate(text.floor_char_boundary(MAX_STATE));
            text
        };
        let details = vec![("target", target.clone()), ("before", state(before)), ("after", state(after))];
        ctx.admitted.audit(kind, details).await;
    }
    Ok(done)
}

/// The tag of what a change is about: that of `GET` on the same path, or on the path above it.
async fn current(row: &Row, ctx: &Ctx<'_>) -> Result<Option<String>, Refused> {
    let shown = |path: &str| super::ROWS.iter().find(|row| row.path == path && row.method == Method::GET);
    let mut path = row.path;
    let found = loop {
        if let Some(found) = shown(path) {
            break Some(found);
        }
        match path.rsplit_once('/') {
            Some((above, _)) if !above.is_empty() => path = above,
            Some(_) | None => break None,
        }
    };
    let Some(found) = found else { return Ok(None) };
    match (found.run)(ctx).await?.body {
        Answered::Json(value) => Ok(Some(tag(&value))),
        Answered::Csv(_) => Ok(None),
    }
}

/// A tag of a state. Not a secret and not a proof: 64 bits tell one state from another.
fn tag(value: &Value) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(value.to_string().as_bytes());
    format!("\"{:016x}\"", hasher.finish())
}

fn answered(door: &Door, row: &Row, done: Done, id: &RequestId, views: &Views) -> Response<Body> {
    let mut response = match done.body {
        Answered::Json(value) => {
            let mut response = answer::json(done.status, &value);
            if row.method == Method::GET
                && let Ok(tag) = HeaderValue::try_from(tag(&value))
            {
                response.headers_mut().insert(header::ETAG, tag);
            }
            response
        }
        Answered::Csv(text) => {
            let mut response = Response::new(Body::from(text));
            let kind = HeaderValue::from_static("text/csv; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
    };
    answer::common(response.headers_mut(), Schema::Rest, id, views, door.now());
    response
}

/// A refusal that no `Failure` stands for.
async fn refused(
    door: &Door,
    admitted: Admitted,
    status: StatusCode,
    words: &'static str,
    report: Option<Value>,
    id: &RequestId,
) -> Response<Body> {
    let views = admitted.refuse(Failure::Conflict(words.into())).await.views;
    let parts = answer::ErrorParts {
        status,
        kind: "",
        code: "",
        message: Cow::Borrowed(words),
        param: None,
        retry: answer::Retry::No,
    };
    let mut value = rest::body(&parts, id, door.now());
    if let Some(report) = report {
        value["details"] = report;
    }
    let mut response = answer::json(status, &value);
    answer::common(response.headers_mut(), Schema::Rest, id, &views, door.now());
    response
        .headers_mut()
        .insert(HeaderName::from_static("cache-control"), HeaderValue::from_static("no-store"));
    response
}

fn parsed(bytes: &[u8]) -> Result<Value, Failure> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::invalid("body", format!("The body is not JSON: {error}.")))
}

/// `a=b&c=d`, percent-decoded; of a name given twice the last counts.
fn query(text: &str) -> BTreeMap<String, String> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(plain)) => {
                out.push(plain);
                at += 3;
            }
            (b'+', _) => {
                out.push(b' ');
                at += 1;
            }
            (other, _) => {
                out.push(*other);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_taken_apart_and_decoded_and_nonsense_stays_as_it_is() {
        let parts = query("group_by=key%2Cmodel&from=2026-01-01&x=a+b&y=%zz&&z");
        assert_eq!(parts["group_by"], "key,model");
        assert_eq!((parts["x"].as_str(), parts["y"].as_str(), parts["z"].as_str()), ("a b", "%zz", ""));
        assert_eq!(decoded("%"), "%");
    }

    #[test]
    fn two_states_have_two_tags_and_one_has_one() {
        assert_eq!(tag(&json!({"a": 1})), tag(&json!({"a": 1})));
        assert_ne!(tag(&json!({"a": 1})), tag(&json!({"a": 2})));
    }
}
