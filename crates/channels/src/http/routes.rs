//! Every path of the main listener, in one file. `/v1` rows go through `governed::serve` and nowhere else.

use super::{
    Current, Door, answer::Schema, anthropic, gemini, governed, governed::Route, openai, operations,
};
use axum::{
    Router,
    body::Body,
    extract::{RawPathParams, State},
    routing::{MethodFilter, get, on},
};
use http::{Method, Request, Response};
use portcullis_domain::{Action, Failure, Format, InputCode, ModelsRequest, Payload};
use std::{convert::Infallible, sync::Arc};
use tower::Service as _;

/// The governed routes.
pub(super) static V1: [Route; 19] = [
    Route {
        method: Method::POST,
        path: "/v1/chat/completions",
        format: Format::OpenAi,
        action: Action::Chat,
        decode: |body, _, limits| openai::decode::chat(body, limits).map(Payload::Chat),
    },
    Route {
        method: Method::POST,
        path: "/v1/embeddings",
        format: Format::OpenAi,
        action: Action::Embed,
        decode: |body, _, limits| openai::decode::embed(body, limits).map(Payload::Embed),
    },
    Route {
        method: Method::POST,
        path: "/v1/responses",
        format: Format::Responses,
        action: Action::Chat,
        decode: |body, _, limits| openai::responses::responses(body, limits).map(Payload::Chat),
    },
    Route {
        method: Method::POST,
        path: "/v1/messages",
        format: Format::Anthropic,
        action: Action::Chat,
        decode: |body, _, limits| anthropic::decode::messages(body, limits).map(Payload::Chat),
    },
    Route {
        method: Method::POST,
        path: "/v1/messages/count_tokens",
        format: Format::Anthropic,
        action: Action::Chat,
        decode: |body, _, limits| anthropic::decode::count(body, limits).map(Payload::Count),
    },
    Route {
        method: Method::GET,
        path: "/v1/models",
        format: Format::OpenAi,
        action: Action::Models,
        decode: |_, _, _| Ok(Payload::Models(ModelsRequest { format: Format::OpenAi, id: None })),
    },
    Route {
        method: Method::GET,
        path: "/v1/models/{*id}",
        format: Format::OpenAi,
        action: Action::Models,
        decode: |_, id, _| Ok(Payload::Models(ModelsRequest { format: Format::OpenAi, id })),
    },
    Route {
        method: Method::POST,
        path: "/v1beta/models/{model}:generateContent",
        format: Format::Gemini,
        action: Action::Chat,
        decode: |body, model, limits| gemini::decode::generate(body, model, false, limits).map(Payload::Chat),
    },
    Route {
        method: Method::POST,
        path: "/v1beta/models/{model}:streamGenerateContent",
        format: Format::Gemini,
        action: Action::Chat,
        decode: |body, model, limits| gemini::decode::generate(body, model, true, limits).map(Payload::Chat),
    },
    Route {
        method: Method::POST,
        path: "/v1beta/models/{model}:countTokens",
        format: Format::Gemini,
        action: Action::Chat,
        decode: |body, model, limits| gemini::decode::count(body, model, limits).map(Payload::Count),
    },
    Route {
        method: Method::POST,
        path: "/v1beta/models/{model}:embedContent",
        format: Format::Gemini,
        action: Action::Embed,
        decode: |body, model, limits| gemini::decode::embed_one(body, model, limits).map(Payload::Embed),
    },
    Route {
        method: Method::POST,
        path: "/v1beta/models/{model}:batchEmbedContents",
        format: Format::Gemini,
        action: Action::Embed,
        decode: |body, model, limits| gemini::decode::embed_many(body, model, limits).map(Payload::Embed),
    },
    Route {
        method: Method::POST,
        path: "/v1/models/{model}:generateContent",
        format: Format::Gemini,
        action: Action::Chat,
        decode: |body, model, limits| gemini::decode::generate(body, model, false, limits).map(Payload::Chat),
    },
    Route {
        method: Method::POST,
        path: "/v1/models/{model}:streamGenerateContent",
        format: Format::Gemini,
        action: Action::Chat,
        decode: |body, model, limits| gemini::decode::generate(body, model, true, limits).map(Payload::Chat),
    },
    Route {
        method: Method::POST,
        path: "/v1/models/{model}:countTokens",
        format: Format::Gemini,
        action: Action::Chat,
        decode: |body, model, limits| gemini::decode::count(body, model, limits).map(Payload::Count),
    },
    Route {
        method: Method::POST,
        path: "/v1/models/{model}:embedContent",
        format: Format::Gemini,
        action: Action::Embed,
        decode: |body, model, limits| gemini::decode::embed_one(body, model, limits).map(Payload::Embed),
    },
    Route {
        method: Method::POST,
        path: "/v1/models/{model}:batchEmbedContents",
        format: Format::Gemini,
        action: Action::Embed,
        decode: |body, model, limits| gemini::decode::embed_many(body, model, limits).map(Payload::Embed),
    },
    Route {
        method: Method::GET,
        path: "/v1beta/models",
        format: Format::Gemini,
        action: Action::Models,
        decode: |_, _, _| Ok(Payload::Models(ModelsRequest { format: Format::Gemini, id: None })),
    },
    Route {
        method: Method::GET,
        path: "/v1beta/models/{*id}",
        format: Format::Gemini,
        action: Action::Models,
        decode: |_, id, _| Ok(Payload::Models(ModelsRequest { format: Format::Gemini, id })),
    },
];

/// Who answers the requests of a listener. Every second request of a gateway is for one of the same few rows: such are
/// found by one look at the table and go to their row without the router's ceremony, which is the router's way as well.
#[derive(Clone)]
pub(super) struct Answerer {
    pub(super) router: Router,
    /// None where the router does something to every request (cross-origin headers).
    pub(super) direct: Option<Current>,
}

impl Answerer {
    pub(super) async fn answer(mut self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        match self.direct.as_ref().zip(direct(&request)) {
            Some((door, route)) => Ok(governed::serve(&door.now(), route, None, request).await),
            None => self.router.call(request).await,
        }
    }
}

/// The row that a request means by its whole path.
fn direct(request: &Request<Body>) -> Option<&'static Route> {
    let path = request.uri().path();
    let row = V1.iter().find(|route| route.path == path && route.method == *request.method())?;
    (row.method == Method::POST).then_some(row)
}

/// The main listener's router.
pub(super) fn main(door: Current) -> Router {
    let mut router = Router::new()
        .route("/health/live", get(operations::live))
        .route("/health/ready", get(operations::ready))
        .route("/health", get(operations::health))
        .route("/healthz", get(operations::health))
        .route("/metrics", get(operations::metrics))
        .route("/openapi.json", get(operations::openapi));
    for path in ["/v1beta/models/{*id}", "/v1/models/{*id}"] {
        router = router.route(path, on(MethodFilter::POST, verbs));
    }
    for route in V1.iter().filter(|route| !route.path.contains(VERB)) {
        let filter = if route.method == Method::GET { MethodFilter::GET } else { MethodFilter::POST };
        let handler = move |State(door): State<Arc<Door>>, params: RawPathParams, request: Request<Body>| async move {
            let segment = params.iter().next().map(|(_, value)| value.to_owned());
            let route = googles(route, &request).unwrap_or(route);
            governed::serve(&door, route, segment, request).await
        };
        router = router.route(route.path, on(filter, handler));
    }
    router.fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(door)
}

/// What stands before a verb in a path: such rows share one path of the router, because it knows no colons.
const VERB: &str = "{model}:";

/// The row of Google's model list that a request for OpenAI's means: both have the same path below `/v1`.
fn googles(route: &Route, request: &Request<Body>) -> Option<&'static Route> {
    let rest = route.path.strip_prefix("/v1/models")?;
    gemini::asks(request.headers(), request.uri())
        .then(|| V1.iter().find(|other| other.path.strip_prefix("/v1beta/models") == Some(rest)))
        .flatten()
}

/// Serves the rows that are told apart by a verb behind the model's name.
async fn verbs(state: State<Arc<Door>>, params: RawPathParams, request: Request<Body>) -> Response<Body> {
    let segment = params.iter().next().map_or("", |(_, value)| value);
    let path = request.uri().path();
    let asked = gemini::split(segment).and_then(|(model, verb)| {
        let mine = |route: &&Route| {
            let sides = route.path.split_once(VERB);
            sides.is_some_and(|(before, after)| path.starts_with(before) && after == verb)
        };
        Some((V1.iter().find(mine)?, model.to_owned()))
    });
    match asked {
        Some((route, model)) => governed::serve(&state.0, route, Some(model), request).await,
        None => unknown(state, request).await,
    }
}

/// Paths of the field's APIs that are not offered here, with what to use instead.
const NOT_OFFERED: &[(&str, &str)] = &[
    ("/v1/messages/batches", "Batches are not offered."),
    ("/v1/responses/", "Answers are not stored here; POST /v1/responses takes a whole conversation."),
    ("/v1/conversations", "Conversations are not stored here; POST /v1/responses takes a whole one."),
    ("/v1/completions", "Legacy completions are not offered; use /v1/chat/completions."),
    ("/v1/audio", "Audio is not offered."),
    ("/v1/images", "Images are not offered."),
    ("/v1/files", "Files are not offered."),
    ("/v1/batches", "Batches are not offered."),
    ("/v1/fine_tuning", "Fine-tuning is not offered."),
];

/// In whose format the paths below each of these are, the first match counts.
const FAMILIES: &[(&str, Format)] = &[
    ("/v1/messages", Format::Anthropic),
    ("/v1/responses", Format::Responses),
    ("/v1beta", Format::Gemini),
    ("/v1", Format::OpenAi),
];

/// In whose words errors of a path are told, whether or not it exists.
fn schema(path: &str) -> Schema {
    if gemini::of_path(path) {
        return Schema::Wire(Format::Gemini);
    }
    let family = FAMILIES.iter().find(|(prefix, _)| path.starts_with(prefix));
    family.map_or(Schema::Rest, |(_, format)| Schema::Wire(*format))
}

async fn unknown(State(door): State<Arc<Door>>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path();
    let message = match NOT_OFFERED.iter().find(|(prefix, _)| path.starts_with(prefix)) {
        Some((_, sentence)) => (*sentence).to_owned(),
        None if path.starts_with("/v1") => {
            format!("There is no such endpoint; the nearest is {}.", nearest(path))
        }
        None => "There is no such path; /openapi.json lists what is offered.".to_owned(),
    };
    let schema = schema(path);
    let failure = Failure::NotFound(message.into());
    door.refuse(schema, &failure, &door.engine.request_id(), &[])
}

async fn wrong_method(State(door): State<Arc<Door>>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path();
    let governed = V1.iter().find(|route| route.path == path);
    let allowed = governed.map_or("GET", |route| route.method.as_str());
    let failure = Failure::InvalidInput {
        code: InputCode::MethodNotAllowed,
        message: format!("This path takes {allowed} only.").into(),
        param: None,
    };
    let schema = schema(path);
    door.refuse(schema, &failure, &door.engine.request_id(), &[])
}

/// The governed path that shares the longest beginning with `path`, as the documentation writes it.
fn nearest(path: &str) -> String {
    let shared = |route: &&Route| route.path.bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count();
    V1.iter().max_by_key(shared).map_or("/v1/chat/completions", |route| route.path).replace("{*", "{")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_path_are_told_in_the_words_of_its_routes() {
        for route in &V1 {
            assert_eq!(schema(route.path), Schema::Wire(route.format), "{}", route.path);
        }
        assert_eq!(schema("/v1/messages/nothing"), Schema::Wire(Format::Anthropic));
        assert_eq!(schema("/v1/responses/resp_1"), Schema::Wire(Format::Responses));
        assert_eq!(schema("/v1/nothing"), Schema::Wire(Format::OpenAi));
        assert_eq!(schema("/nothing"), Schema::Rest);
    }
}
