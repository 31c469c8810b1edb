//! The admin API, on its own listener: one table of rows, each with method, path, scope, what it is charged and the
//! function that does it. Every call takes the same way in as any other (identity, limits, audit), at action `admin`.
//! Invariants: a row that changes something needs `admin:write`, takes its turn, honours `If-Match` and is proved in
//! the audit trail with before and after; the plain key appears in exactly one answer, that of its making.
//!
//! Source: gateway.md section 13.

mod backups;
mod call;
mod describe;
mod exceptions;
mod keys;
mod limits;
mod outbox;
mod outside;
mod process;
mod safety;
mod usage;

use super::{Current, Door, answer::Schema};
use axum::{
    Router,
    body::Body,
    extract::{RawPathParams, State},
    routing::{MethodFilter, get, on},
};
use call::{Row, rows};
use http::{Method, Request, Response};
use portcullis_domain::{Failure, InputCode};
use std::sync::Arc;

rows! {
    GET "/admin/v1/keys" read keys::list "List API keys; never a key itself.";
    POST "/admin/v1/keys" change keys::create "Make an API key; its text is shown in this answer only.";
    GET "/admin/v1/keys/{id}" read keys::show "One key.";
    PATCH "/admin/v1/keys/{id}" change keys::change "Change a key: members that are sent replace, null takes away.";
    DELETE "/admin/v1/keys/{id}" change keys::revoke "Revoke a key for good.";
    POST "/admin/v1/keys/{id}/rotate" change keys::rotate
        "Give a key a new text; the old one is good for `overlap_secs` (86400) more.";
    GET "/admin/v1/tiers" read limits::tiers "What each tier allows.";
    PUT "/admin/v1/tiers/{name}" change limits::set_tier "Change a tier at run time, on every replica.";
    DELETE "/admin/v1/tiers/{name}" change limits::reset_tier "Let the settings' own tier hold again.";
    GET "/admin/v1/limits" read limits::list "The levels at which requests are limited.";
    GET "/admin/v1/limits/{scope}/{key}" read limits::show "What one caller or address has left.";
    DELETE "/admin/v1/limits/{scope}/{key}" change limits::clear "Forget what one caller or address has used.";
    GET "/admin/v1/providers" read outside::list "Every guarded dependency: breaker, hold, queue.";
    GET "/admin/v1/providers/{name}" read outside::show "One guarded dependency.";
    POST "/admin/v1/providers/{name}/breaker" change outside::breaker
        "Set a breaker by hand: `state` is open, close or auto.";
    DELETE "/admin/v1/providers/{name}/hold" change outside::release
        "Make calls again to an account that is held.";
    GET "/admin/v1/routes" read outside::routes "Routes and their targets.";
    PATCH "/admin/v1/routes/{route}/targets/{number}" change outside::change_target
        "Change a target's weight (null: as configured), or switch it off until a time (null: on), until a restart.";
    GET "/admin/v1/budgets" read usage::budgets "What may still be spent, `?budget=…&subject=…`.";
    POST "/admin/v1/budgets/reprice" change usage::reprice
        "Compute the money of a model's calls again with the right price.";
    GET "/admin/v1/budgets/{name}" read usage::budget "One budget, a row for each who drew on it.";
    PUT "/admin/v1/budgets/{name}" change usage::set_budget
        "Redefine a budget at run time, on every replica: scope, window, tokens, money_usd, action.";
    DELETE "/admin/v1/budgets/{name}" change usage::reset_budget "Let the settings' own budget hold again.";
    POST "/admin/v1/budgets/{name}/raise" change usage::raise
        "Raise a budget of one subject for the rest of its window.";
    GET "/admin/v1/usage" read usage::report
        "What was used, `?group_by=key,model,day&from=2026-01-01&to=2026-02-01&format=csv`.";
    GET "/admin/v1/safety-overrides" read safety::list "Overrides of safety settings that count now.";
    POST "/admin/v1/safety-overrides" change safety::set
        "Change a provider's safety setting for at most a day: provider, category, threshold, for_secs, reason.";
    DELETE "/admin/v1/safety-overrides/{provider}/{category}" change safety::end "End an override before its time.";
    GET "/admin/v1/config" read process::config "The settings in force, redacted, each with where it was said.";
    POST "/admin/v1/config/validate" config process::validate
        "Say what is wrong with the settings file in `toml`; nothing changes.";
    POST "/admin/v1/config/reload" config process::reload "Read the settings again and put them in force, or nothing.";
    POST "/admin/v1/drain" change process::drain "Take nothing new, let running answers finish, end.";
    POST "/admin/v1/inspect" read process::inspect
        "Say what inspection thinks of `text` (`channel`: user or document); nothing is recorded.";
    GET "/admin/v1/exceptions" read exceptions::list "Exceptions from inspection that were granted and count now.";
    POST "/admin/v1/exceptions" change exceptions::grant
        "Let suspicious messages pass for a while: caller, or text (or sha256), or both; for_secs, reason.";
    DELETE "/admin/v1/exceptions/{id}" change exceptions::end "End an exception before its time.";
    GET "/admin/v1/outbox" read outbox::list
        "Messages to chats without their words, newest first, `?state=dead&limit=100`.";
    POST "/admin/v1/outbox" change outbox::send
        "Send `text` to a chat: `to` is `telegram:<number>` or `signal:<uuid>`; `silent` makes no sound.";
    POST "/admin/v1/outbox/{id}/retry" change outbox::retry "Queue a message again that could not be delivered.";
    GET "/admin/v1/backups" read backups::list "Backups of this server's state, newest first, each looked into.";
    POST "/admin/v1/backups" change backups::make "Make a backup now.";
    POST "/admin/v1/backups/{name}/verify" change backups::verify
        "Hold a backup against its sum and read it through: `problem` says why it could not be put back.";
    GET "/admin/v1/anomalies" read process::anomalies
        "The last messages that did not fit their caller, newest first, `?limit=100`.";
    GET "/admin/v1/audit" read process::audit "The last records of the audit trail, newest first, `?limit=100`.";
}

pub(super) fn routes(current: Current) -> Router {
    let mut router = Router::new().route("/admin/v1/openapi.json", get(openapi));
    for row in &ROWS {
        let handler = move |State(door): State<Arc<Door>>, params: RawPathParams, request: Request<Body>| async move {
            let params = params.iter().map(|(_, value)| value.to_owned()).collect();
            Box::pin(call::serve(&door, row, params, request)).await
        };
        router = router.route(row.path, on(filter(&row.method), handler));
    }
    router.fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(current)
}

fn filter(method: &Method) -> MethodFilter {
    MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET)
}

/// The description of this API, made from the table. It says nothing that the documentation does not.
async fn openapi(State(door): State<Arc<Door>>) -> Response<Body> {
    let mut response = super::answer::json(http::StatusCode::OK, &describe::document(&ROWS));
    super::answer::common(response.headers_mut(), Schema::Rest, &door.engine.request_id(), &[], door.now());
    response
}

async fn unknown(State(door): State<Arc<Door>>) -> Response<Body> {
    let words = "There is no such admin path; /admin/v1/openapi.json lists what there is.";
    door.refuse(Schema::Rest, &Failure::NotFound(words.into()), &door.engine.request_id(), &[])
}

async fn wrong_method(State(door): State<Arc<Door>>) -> Response<Body> {
    let failure = Failure::InvalidInput {
        code: InputCode::MethodNotAllowed,
        message: "This path does not take that method; /admin/v1/openapi.json lists what it takes.".into(),
        param: None,
    };
    door.refuse(Schema::Rest, &failure, &door.engine.request_id(), &[])
}
