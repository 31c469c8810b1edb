//! Every path of the main listener, in one file. `/v1` rows go through `governed::serve` and nowhere else.

use super::{
    Current, Door, Peer, answer::Schema, anthropic, gemini, governed, governed::Route, hooks, library, news,
    openai, operations,
};
use axum::{
    Router,
    body::Body,
    extract::{RawPathParams, State},
    routing::{MethodFilter, get, on, post},
};
use http::{Method, Request, Response};
use portcullis_domain::{Action, Failure, Format, InputCode, LibraryRequest, ModelsRequest, Payload};
use std::{convert::Infallible, net::IpAddr, sync::Arc};
use tower::Service as _;

/// The governed routes.
pub(super) static V1: [Route; 28] = [
    Route {
        method: Method::POST,
        path: "/v1/chat/completions",
        schema: Schema::Wire(Format::OpenAi),
        action: Action::Chat,
        decode: |asked, limits| openai::decode::chat(asked.body, limits).map(Payload::Chat),
    },
    Route {
        method: Method::POST,
        path: "/v1/embeddings",
        schema: Schema::Wire(Format::OpenAi),
        action: Action::Embed,
        decode: |asked, limits| openai::decode::embed(asked.body, limits).map(Payload::Embed),
    },
    Route {
        method: Method::POST,
        path: "/v1/responses",
        schema: Schema::Wire(Format::Responses),
        action: Action::Chat,
        decode: |asked, limits| openai::responses::responses(asked.body, limits).map(Payload::Chat),
    },
    Route {
        method: Method::POST,
        path: "/v1/messages",
        schema: Schema::Wire(Format::Anthropic),
        action: Action::Chat,
        decode: |asked, limits| anthropic::decode::messages(asked.body, limits).map(Payload::Chat),
    },
    Route {
        method: Method::POST,
        path: "/v1/messages/count_tokens",
        schema: Schema::Wire(Format::Anthropic),
        action: Action::Chat,
        decode: |asked, limits| anthropic::decode::count(asked.body, limits).map(Payload::Count),
    },
    Route {
        method: Method::GET,
        path: "/v1/models",
        schema: Schema::Wire(Format::OpenAi),
        action: Action::Models,
        decode: |_, _| Ok(Payload::Models(ModelsRequest { format: Format::OpenAi, id: None })),
    },
    Route {
        method: Method::GET,
        path: "/v1/models/{*id}",
        schema: Schema::Wire(Format::OpenAi),
        action: Action::Models,
        decode: |asked, _| Ok(Payload::Models(ModelsRequest { format: Format::OpenAi, id: asked.segment })),
    },
    Route {
        method: Method::POST,
        path: "/v1beta/models/{model}:generateContent",
        schema: Schema::Wire(Format::Gemini),
        action: Action::Chat,
        decode: |asked, limits| {
            gemini::decode::generate(asked.body, asked.segment, false, limits).map(Payload::Chat)
        },
    },
    Route {
        method: Method::POST,
        path: "/v1beta/models/{model}:streamGenerateContent",
        schema: Schema::Wire(Format::Gemini),
        action: Action::Chat,
        decode: |asked, limits| {
            gemini::decode::generate(asked.body, asked.segment, true, limits).map(Payload::Chat)
        },
    },
    Route {
        method: Method::POST,
        path: "/v1beta/models/{model}:countTokens",
        schema: Schema::Wire(Format::Gemini),
        action: Action::Chat,
        decode: |asked, limits| gemini::decode::count(asked.body, asked.segment, limits).map(Payload::Count),
    },
    Route {
        method: Method::POST,
        path: "/v1beta/models/{model}:embedContent",
        schema: Schema::Wire(Format::Gemini),
        action: Action::Embed,
        decode: |asked, limits| {
            gemini::decode::embed_one(asked.body, asked.segment, limits).map(Payload::Embed)
        },
    },
    Route {
        method: Method::POST,
        path: "/v1beta/models/{model}:batchEmbedContents",
        schema: Schema::Wire(Format::Gemini),
        action: Action::Embed,
        decode: |asked, limits| {
            gemini::decode::embed_many(asked.body, asked.segment, limits).map(Payload::Embed)
        },
    },
    Route {
        method: Method::POST,
        path: "/v1/models/{model}:generateContent",
        schema: Schema::Wire(Format::Gemini),
        action: Action::Chat,
        decode: |asked, limits| {
            gemini::decode::generate(asked.body, asked.segment, false, limits).map(Payload::Chat)
        },
    },
    Route {
        method: Method::POST,
        path: "/v1/models/{model}:streamGenerateContent",
        schema: Schema::Wire(Format::Gemini),
        action: Action::Chat,
        decode: |asked, limits| {
            gemini::decode::generate(asked.body, asked.segment, true, limits).map(Payload::Chat)
        },
    },
    Route {
        method: Method::POST,
        path: "/v1/models/{model}:countTokens",
        schema: Schema::Wire(Format::Gemini),
        action: Action::Chat,
        decode: |asked, limits| gemini::decode::count(asked.body, asked.segment, limits).map(Payload::Count),
    },
    Route {
        method: Method::POST,
        path: "/v1/models/{model}:embedContent",
        schema: Schema::Wire(Format::Gemini),
        action: Action::Embed,
        decode: |asked, limits| {
            gemini::decode::embed_one(asked.body, asked.segment, limits).map(Payload::Embed)
        },
    },
    Route {
        method: Method::POST,
        path: "/v1/models/{model}:batchEmbedContents",
        schema: Schema::Wire(Format::Gemini),
        action: Action::Embed,
        decode: |asked, limits| {
            gemini::decode::embed_many(asked.body, asked.segment, limits).map(Payload::Embed)
        },
    },
    Route {
        method: Method::GET,
        path: "/v1beta/models",
        schema: Schema::Wire(Format::Gemini),
        action: Action::Models,
        decode: |_, _| Ok(Payload::Models(ModelsRequest { format: Format::Gemini, id: None })),
    },
    Route {
        method: Method::GET,
        path: "/v1beta/models/{*id}",
        schema: Schema::Wire(Format::Gemini),
        action: Action::Models,
        decode: |asked, _| Ok(Payload::Models(ModelsRequest { format: Format::Gemini, id: asked.segment })),
    },
    Route {
        method: Method::POST,
        path: "/v1/ask",
        schema: Schema::Rest,
        action: Action::Ask,
        decode: |asked, limits| library::ask(&asked.body, limits),
    },
    Route {
        method: Method::POST,
        path: "/v1/search",
        schema: Schema::Rest,
        action: Action::Search,
        decode: |asked, limits| library::search(&asked.body, limits),
    },
    Route {
        method: Method::GET,
        path: "/v1/collections",
        schema: Schema::Rest,
        action: Action::Search,
        decode: |_, _| Ok(Payload::Library(LibraryRequest::Collections)),
    },
    Route {
        method: Method::GET,
        path: "/v1/documents",
        schema: Schema::Rest,
        action: Action::Search,
        decode: |asked, _| library::documents(&asked.query),
    },
    Route {
        method: Method::DELETE,
        path: "/v1/documents/{id}",
        schema: Schema::Rest,
        action: Action::Ingest,
        decode: |asked, _| library::remove(asked.segment),
    },
    Route {
        method: Method::POST,
        path: "/v1/news/digest",
        schema: Schema::Rest,
        action: Action::News,
        decode: |asked, limits| news::digest(&asked.body, limits),
    },
    Route {
        method: Method::POST,
        path: "/v1/ingest",
        schema: Schema::Rest,
        action: Action::Ingest,
        decode: |asked, limits| library::ingest(&asked, limits),
    },
    Route {
        method: Method::GET,
        path: "/v1/ingest/{job}",
        schema: Schema::Rest,
        action: Action::Ingest,
        decode: |asked, _| library::job(asked.segment, false),
    },
    Route {
        method: Method::DELETE,
        path: "/v1/ingest/{job}",
        schema: Schema::Rest,
        action: Action::Ingest,
        decode: |asked, _| library::job(asked.segment, true),
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
    /// Answers a request that came from there.
    pub(super) async fn answer(
        mut self,
        mut request: Request<Body>,
        from: IpAddr,
    ) -> Result<Response<Body>, Infallible> {
        match self.direct.as_ref().zip(direct(&request)) {
            Some((door, route)) => Ok(governed::serve(&door.now(), route, None, from, request).await),
            None => {
                request.extensions_mut().insert(Peer(from));
                self.router.call(request).await
            }
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
        .route("/openapi.json", get(operations::openapi))
        .route("/telegram/{hook}", post(hooks::telegram));
    for path in ["/v1beta/models/{*id}", "/v1/models/{*id}"] {
        router = router.route(path, on(MethodFilter::POST, verbs));
    }
    for route in V1.iter().filter(|route| !route.path.contains(VERB)) {
        let filter = match route.method {
            Method::GET => MethodFilter::GET,
            Method::DELETE => MethodFilter::DELETE,
            _ => MethodFilter::POST,
        };
        let handler = move |State(door): State<Arc<Door>>, params: RawPathParams, request: Request<Body>| async move {
            let segment = params.iter().next().map(|(_, value)| value.to_owned());
            let route = googles(route, &request).unwrap_or(route);
            governed::serve(&door, route, segment, operations::peer(request.extensions()), request).await
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
        Some((route, model)) => {
            governed::serve(&state.0, route, Some(model), operations::peer(request.extensions()), request)
                .await
        }
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
    if V1.iter().any(|route| route.schema == Schema::Rest && is_of(route.path, path)) {
        return Schema::Rest;
    }
    family.map_or(Schema::Rest, |(_, format)| Schema::Wire(*format))
}

/// Whether a path is that row's, or lies below it.
fn is_of(row: &str, path: &str) -> bool {
    let fixed = row.split("/{").next().unwrap_or(row);
    path.strip_prefix(fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) async fn unknown(State(door): State<Arc<Door>>, request: Request<Body>) -> Response<Body> {
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
    let others = if path.starts_with("/telegram/") { "POST" } else { "GET" };
    let allowed = governed.map_or(others, |route| route.method.as_str());
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
            assert_eq!(schema(route.path), route.schema, "{}", route.path);
        }
        assert_eq!(schema("/v1/messages/nothing"), Schema::Wire(Format::Anthropic));
        assert_eq!(schema("/v1/responses/resp_1"), Schema::Wire(Format::Responses));
        assert_eq!(schema("/v1/nothing"), Schema::Wire(Format::OpenAi));
        assert_eq!(schema("/nothing"), Schema::Rest);
        assert_eq!(schema("/v1/documents/d_1/no"), Schema::Rest);
        assert_eq!(schema("/v1/asked"), Schema::Wire(Format::OpenAi));
    }
}
