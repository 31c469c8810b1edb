//! `portcullis chat`: one question to the running server.

use super::{Ended, block_on, server, settings, stdin_or, trouble};
use crate::{
    cli,
    output::{DIM, Trouble, line, piece},
};
use portcullis_runtime::{
    remote::{Listener, Question, RemoteError},
    settings::Sources,
};
use std::{process::ExitCode, time::Duration};

pub(super) fn run(sources: &Sources, arguments: &cli::Chat, json: bool) -> Ended {
    let settings = settings(sources)?.settings;
    let server = server(&settings, sources, Listener::Main)?;
    let text = stdin_or(&arguments.text)?;
    if text.trim().is_empty() {
        return Err(
            Trouble::usage("there is nothing to ask").mend("give a text, or `-` and text on standard input")
        );
    }
    let question = Question {
        text: &text,
        system: arguments.system.as_deref(),
        model: &arguments.model,
        stream: !arguments.no_stream,
    };
    let within = Duration::from_secs(arguments.timeout_secs);
    let answered = block_on(async {
        let show = |text: &str| {
            if !json {
                piece(text);
            }
        };
        server.chat(&question, within, show).await.map_err(|error| {
            let broken = matches!(error, RemoteError::Interrupted(_));
            if broken && !json {
                piece("\n");
            }
            let trouble = trouble(&server, error);
            if broken {
                trouble.safe("what is printed above is genuine, but it is not the whole answer")
            } else {
                trouble
            }
        })
    })?;
    if json {
        line(serde_json::json!({
            "text": answered.text, "finish_reason": answered.finish, "degraded": answered.degraded,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    piece("\n");
    if let Some(degraded) = answered.degraded {
        let words = match degraded.as_str() {
            "no-provider" => {
                "answered offline by the builtin provider; name a provider's key to reach a model"
            }
            _ => "the first choice did not answer; another target did",
        };
        anstream::eprintln!("{DIM}({words}){DIM:#}");
    }
    Ok(ExitCode::SUCCESS)
}
