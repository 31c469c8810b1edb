//! `portcullis token …`: tokens signed with the configured secret. Issuing and inspecting need no server; revoking
//! writes to the store, where every server finds it.

use super::{Ended, block_on, settings, stdin_or};
use crate::{
    cli::{Token, TokenIssue, TokenRevoke},
    output::{DIM, GOOD, Trouble, line},
};
use portcullis_runtime::{
    jwt, read_secrets, revoke_token,
    settings::Sources,
    tokens::{DEFAULT_POLICY, NewToken, RevocationKind, Scopes, Tier},
};
use secrecy::ExposeSecret as _;
use std::process::ExitCode;

pub(super) fn run(sources: &Sources, command: &Token, json: bool) -> Ended {
    let settings = settings(sources)?.settings;
    let secrets = block_on(async { Ok(read_secrets(&settings, &sources.environment).await) })?;
    let rules = || jwt(&settings, &secrets).map_err(|error| Trouble::usage(error.to_string()));
    match command {
        Token::Issue(wanted) => {
            let has = |name: &String| settings.policies.contains_key(name) || name == DEFAULT_POLICY;
            if let Some(name) = wanted.policy.as_ref().filter(|name| !has(name)) {
                return Err(Trouble::usage(format!("there is no guard policy `{name}`"))
                    .safe("no token was made")
                    .mend("name a section of [policies]"));
            }
            let issued = rules()?
                .issue(&wish(wanted)?, jiff::Timestamp::now())
                .map_err(|why| Trouble::usage(why).safe("no token was made"))?;
            let (token, jti) = (issued.token.expose_secret(), &issued.jti);
            if json {
                let expires_at = issued.expires_at.to_string();
                line(serde_json::json!({"token": token, "jti": jti, "expires_at": expires_at}));
            } else {
                anstream::eprintln!(
                    "{DIM}Shown once and kept nowhere; id {jti}, expires {}.{DIM:#}",
                    issued.expires_at
                );
                line(token);
            }
        }
        Token::Inspect => {
            let token = stdin_or("-")?;
            let found = rules()?
                .inspect(token.trim(), jiff::Timestamp::now(), &|_, _| false)
                .map_err(|why| Trouble::failed(why).mend("paste the whole token, without `Bearer`"))?;
            let shown =
                serde_json::json!({"header": found.header, "claims": found.claims, "verdict": found.verdict});
            line(if json { shown.to_string() } else { format!("{shown:#}") });
            anstream::eprintln!("{DIM}Revocations are not looked at; the server knows them.{DIM:#}");
        }
        Token::Revoke(wanted) => {
            let (kind, value) = revoked(wanted)?;
            block_on(async {
                revoke_token(&settings, &secrets, kind, value)
                    .await
                    .map_err(|error| Trouble::failed(error.to_string()).safe("nothing was revoked"))
            })?;
            if json {
                line(serde_json::json!({"revoked": value}));
            } else {
                let secs = settings.auth.keys.poll_secs;
                line(format_args!(
                    "{GOOD}revoked{GOOD:#} {value}: running servers refuse it within {secs} s"
                ));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn wish(wanted: &TokenIssue) -> Result<NewToken, Trouble> {
    let scopes = Scopes::parse(wanted.scopes.iter().map(String::as_str)).map_err(|name| {
        Trouble::usage(format!("`{name}` is no scope"))
            .mend("scopes are chat, pin, debug, admin:read, admin:write")
    })?;
    Ok(NewToken {
        sub: wanted.subject.clone(),
        tier: Tier::from_name(&wanted.tier),
        scopes,
        life_secs: wanted.minutes * 60,
        policy: wanted.policy.clone(),
        kid: None,
    })
}

fn revoked(wanted: &TokenRevoke) -> Result<(RevocationKind, &str), Trouble> {
    match (&wanted.id, &wanted.subject) {
        (Some(id), _) => Ok((RevocationKind::Jti, id)),
        (None, Some(subject)) => Ok((RevocationKind::Sub, subject)),
        (None, None) => {
            Err(Trouble::usage("name a token with --id or everybody's of a subject with --subject"))
        }
    }
}
