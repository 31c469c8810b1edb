//! `portcullis news`: a digest of named sources, through the running server where there is one, else straight from the data
//! folder. Invariant: which of the two made it changes nothing but who counts and records it.

use super::{Ended, block_on, server, settings, trouble};
use crate::{
    cli,
    output::{BOLD, DIM, Progress, Trouble, line},
};
use http::Method;
use parking_lot::Mutex;
use portcullis_runtime::{
    Settings,
    news::{Alone, DigestRequest},
    read_secrets,
    remote::{Listener, RemoteError},
    settings::Sources,
};
use serde_json::{Value, json};
use std::{process::ExitCode, time::Duration};

mod tools;

pub(super) fn run(sources: &Sources, arguments: &cli::News, as_json: bool) -> Ended {
    match &arguments.tool {
        Some(cli::NewsTool::Extract(arguments)) => return tools::extract(arguments, as_json),
        Some(cli::NewsTool::Duplicates(arguments)) => return tools::duplicates(arguments, as_json),
        None => {}
    }
    let settings = settings(sources)?.settings;
    let arguments = &arguments.digest;
    if arguments.sources.is_empty() {
        return Err(
            Trouble::usage("no source is named").mend("name one: --source @channel, or --source https://…")
        );
    }
    let digest = block_on(async {
        match by_server(&settings, sources, arguments).await? {
            Some(digest) => Ok(digest),
            None => alone(&settings, sources, arguments, as_json).await,
        }
    })?;
    if as_json {
        line(&digest);
    } else {
        show(&digest);
    }
    Ok(ExitCode::SUCCESS)
}

/// The server's digest; none when there is no server.
async fn by_server(
    settings: &Settings,
    sources: &Sources,
    arguments: &cli::Digest,
) -> Result<Option<Value>, Trouble> {
    let server = server(settings, sources, Listener::Main)?;
    let mut body = json!({ "sources": arguments.sources });
    let given = [
        ("window_hours", arguments.hours.map(Value::from)),
        ("stories", arguments.stories.map(Value::from)),
        ("language", arguments.lang.clone().map(Value::from)),
        ("include", Some(arguments.include.clone()).filter(|list| !list.is_empty()).map(Value::from)),
        ("exclude", Some(arguments.exclude.clone()).filter(|list| !list.is_empty()).map(Value::from)),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    let within = Duration::from_secs(settings.news.deadline_secs + 5);
    match server.call(Method::POST, "/v1/news/digest", Some(&body), within).await {
        Ok(digest) => Ok(Some(digest)),
        Err(RemoteError::Unreachable { .. }) if sources.environment.get("PORTCULLIS_URL").is_none() => {
            Ok(None)
        }
        Err(error) => Err(trouble(&server, error)),
    }
}

async fn alone(
    settings: &Settings,
    sources: &Sources,
    arguments: &cli::Digest,
    as_json: bool,
) -> Result<Value, Trouble> {
    let secrets = read_secrets(settings, &sources.environment).await;
    let alone = Alone::open(settings, &secrets)
        .await
        .map_err(|error| Trouble::failed(error.to_string()).mend("`portcullis check` names what is wrong"))?;
    let asked = DigestRequest {
        sources: arguments.sources.clone(),
        window_hours: arguments.hours,
        stories: arguments.stories,
        language: arguments.lang.clone(),
        include: arguments.include.clone(),
        exclude: arguments.exclude.clone(),
    };
    let progress = Mutex::new(Progress::new("sources"));
    let told = move |done, all| {
        if !as_json {
            progress.lock().tell(done, all);
        }
    };
    let digest = alone.digest(asked, told).await;
    digest.map_err(|failure| Trouble::failed(portcullis_runtime::news::sentence(&failure)))
}

/// A digest for people.
fn show(digest: &Value) {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let stories = list(&digest["stories"]);
    if stories.is_empty() {
        line("There is no news.");
    }
    for (n, story) in (1..).zip(&stories) {
        line(format_args!("{BOLD}{n}. {}{BOLD:#}", text(&story["headline"])));
        for bullet in list(&story["bullets"]) {
            line(format_args!("   - {}", text(&bullet)));
        }
        for source in list(&story["sources"]) {
            line(format_args!("   {DIM}{} {}{DIM:#}", text(&source["title"]), text(&source["url"])));
        }
        line("");
    }
    if digest["degraded"] == true {
        anstream::eprintln!("{DIM}(less than it should be: an AI failed, or sources were late){DIM:#}");
    }
    for failed in list(&digest["failed_sources"]) {
        anstream::eprintln!("{DIM}({}: {}){DIM:#}", text(&failed["source"]), text(&failed["reason"]));
    }
}
