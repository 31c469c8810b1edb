//! `portcullis ask`: a question to documents, through the running server where there is one, else straight from the
//! data folder. Invariant: which of the two answered changes nothing but who counts and records it.

use super::{Ended, block_on, server, settings, stdin_or, trouble};
use crate::{
    cli,
    output::{BOLD, DIM, Trouble, line},
};
use http::Method;
use portcullis_runtime::{
    Settings,
    asking::{Alone, AskRequest, Failure},
    read_secrets,
    remote::{Listener, RemoteError},
    settings::Sources,
};
use serde_json::{Value, json};
use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

pub(super) fn run(sources: &Sources, arguments: &cli::Ask, as_json: bool) -> Ended {
    let settings = settings(sources)?.settings;
    let Some(text) = &arguments.text else { return talk(&settings, sources, arguments) };
    let question = stdin_or(text)?;
    if question.trim().is_empty() {
        return Err(
            Trouble::usage("there is nothing to ask").mend("give a question, or none for a conversation")
        );
    }
    let answer = block_on(async {
        if !arguments.offline
            && let Some(answer) = by_server(&settings, sources, arguments, &question).await?
        {
            return Ok(answer);
        }
        let alone = alone(&settings, sources, arguments.offline).await?;
        alone.ask(asked(arguments, question)).await.map_err(refused)
    })?;
    if as_json {
        line(&answer);
    } else {
        show(&answer, arguments.sources);
    }
    Ok(ExitCode::SUCCESS)
}

fn asked(arguments: &cli::Ask, question: String) -> AskRequest {
    AskRequest {
        question,
        collection: arguments.collection.clone(),
        language: arguments.language.clone(),
        extractive: arguments.extractive,
        passages: arguments.passages,
        ..AskRequest::default()
    }
}

/// The server's answer; none when there is no server.
async fn by_server(
    settings: &Settings,
    sources: &Sources,
    arguments: &cli::Ask,
    question: &str,
) -> Result<Option<Value>, Trouble> {
    let server = server(settings, sources, Listener::Main)?;
    let mut body =
        json!({ "question": question, "mode": if arguments.extractive { "extractive" } else { "auto" } });
    for (name, value) in [("collection", &arguments.collection), ("language", &arguments.language)] {
        if let Some(value) = value {
            body[name] = value.as_str().into();
        }
    }
    if let Some(k) = arguments.passages {
        body["k"] = k.into();
    }
    let within = Duration::from_secs(settings.ask.deadline_secs + 5);
    match server.call(Method::POST, "/v1/ask", Some(&body), within).await {
        Ok(answer) => Ok(Some(answer)),
        Err(RemoteError::Unreachable { .. }) if sources.environment.get("PORTCULLIS_URL").is_none() => {
            Ok(None)
        }
        Err(error) => Err(trouble(&server, error)),
    }
}

async fn alone(settings: &Settings, sources: &Sources, offline: bool) -> Result<Alone, Trouble> {
    let secrets = read_secrets(settings, &sources.environment).await;
    Alone::open(settings, &secrets, offline)
        .await
        .map_err(|error| Trouble::failed(error.to_string()).mend("`portcullis check` names what is wrong"))
}

fn refused(failure: Failure) -> Trouble {
    let mend = match failure {
        Failure::Unavailable { .. } => "`portcullis index verify` says what is wrong with the index",
        Failure::NotFound(_) => "`portcullis ingest FOLDER` takes documents in",
        Failure::InvalidInput { .. }
        | Failure::Unauthenticated(_)
        | Failure::Forbidden(_)
        | Failure::ModelNotAllowed(_)
        | Failure::Conflict(_)
        | Failure::RateLimited { .. }
        | Failure::BudgetExceeded { .. }
        | Failure::Blocked { .. }
        | Failure::Unconfirmed { .. }
        | Failure::Overloaded { .. }
        | Failure::DeadlineExceeded
        | Failure::UpstreamInterrupted
        | Failure::Internal { .. } => "",
    };
    Trouble::failed(portcullis_runtime::asking::sentence(&failure)).mend(mend)
}

/// An answer for people.
fn show(answer: &Value, passages: bool) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(note) = answer["note"].as_str() {
        anstream::eprintln!("{DIM}({note}){DIM:#}");
    }
    line(text(&answer["answer"]));
    let sources = answer["sources"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !sources.is_empty() {
        line("");
    }
    for source in sources {
        let mut name = text(&source["title"]);
        let pages: Vec<String> =
            source["pages"].as_array().into_iter().flatten().map(ToString::to_string).collect();
        match (
            pages.as_slice(),
            source["heading"].as_array().and_then(|all| all.last()).and_then(Value::as_str),
        ) {
            ([], Some(heading)) if heading != name => name = format!("{name}, {heading}"),
            ([first, .., last], _) => name = format!("{name}, p. {first}–{last}"),
            ([page], _) => name = format!("{name}, p. {page}"),
            ([], _) => {}
        }
        let url = source["url"].as_str().map(|url| format!(" {url}")).unwrap_or_default();
        line(format_args!("{BOLD}[{}]{BOLD:#} {name}{url}", source["n"]));
        if passages {
            for row in text(&source["text"]).lines() {
                line(format_args!("    {DIM}{row}{DIM:#}"));
            }
        }
    }
}

/// A conversation at the keyboard: questions and the commands of chat doors.
fn talk(settings: &Settings, sources: &Sources, arguments: &cli::Ask) -> Ended {
    let (stdin, person) = (io::stdin(), io::stdin().is_terminal());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Trouble::failed(format!("cannot start the async runtime: {error}")))?;
    let alone = runtime.block_on(alone(settings, sources, arguments.offline))?;
    if person {
        anstream::eprintln!("{DIM}Ask about the documents; /help lists commands, an empty line ends.{DIM:#}");
    }
    loop {
        if person {
            anstream::eprint!("{BOLD}>{BOLD:#} ");
            io::stderr().flush().ok();
        }
        let mut typed = String::new();
        let read = stdin.lock().read_line(&mut typed);
        if !matches!(read, Ok(1..)) || (person && typed.trim().is_empty()) {
            return Ok(ExitCode::SUCCESS);
        }
        if typed.trim().is_empty() {
            continue;
        }
        match runtime.block_on(alone.message(typed.trim().to_owned(), arguments.language.clone())) {
            Ok(reply) => line(reply.words()),
            Err(failure) => {
                refused(failure).tell(false);
            }
        }
    }
}
