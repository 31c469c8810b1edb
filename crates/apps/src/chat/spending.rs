//! What a request may cost at a target: the most it reads and writes, reserved in the caller's budgets before its call.
//!
//! Invariant: an estimate errs upwards. The bytes of a whole body, names of members and tools included, are counted as
//! text; pictures, whose bytes say nothing of their tokens, count a fixed number each. Source: gateway design section 5.

use super::routes::{Route, Target};
use portcullis_domain::{Caller, ChatRequest, EmbedInput, EmbedRequest};
use portcullis_engine::{
    Inspected,
    budgets::{Ask, BudgetRefusal, Budgets, Reservation},
};
use std::time::Duration;

/// Bytes that a picture counts as: 1600 tokens, what the larger providers make of one at most.
const PICTURE: u64 = 6_400;
/// Bytes that a text counts as beside its own: role, name and braces.
const AROUND: u64 = 32;
/// How members that hold a picture begin, in any format.
const PICTURES: [&str; 4] = ["\"image_url\"", "\"input_image\"", "\"inlineData\"", "\"type\":\"image\""];

/// Who reserves, and how long a stream may last.
#[derive(Clone)]
pub struct Spending {
    /// The budgets.
    pub budgets: Budgets,
    /// Longest time of a streamed answer.
    pub stream: Duration,
}

/// What one request may cost, whoever answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Bytes to read.
    input: u64,
    /// Most tokens to write, where the request says or is told.
    output: Option<u64>,
    /// Answers wanted.
    n: u64,
    stream: bool,
    /// Most tokens to write, to be told to the target because the caller did not say.
    pub(crate) bound: Option<u32>,
}

impl Cost {
    pub(crate) fn of_chat(spending: Option<&Spending>, caller: &Caller, chat: &ChatRequest) -> Self {
        let said = chat.max_tokens;
        let bound = match said {
            Some(_) => None,
            None => spending.and_then(|spending| spending.budgets.output_cap(caller)),
        };
        let output = said.or(bound).map(u64::from);
        Self { input: bytes(chat), output, n: u64::from(chat.n.max(1)), stream: chat.stream, bound }
    }

    pub(crate) fn of_embed(embed: &EmbedRequest) -> Self {
        let input = match &embed.input {
            EmbedInput::Texts(parts) => parts.iter().map(|part| part.span.len() as u64).sum(),
            // A token is written with at least two bytes.
            EmbedInput::Tokens { .. } => embed.body.len() as u64 * 2,
        };
        Self { input, output: Some(0), n: 1, stream: false, bound: None }
    }
}

fn bytes(chat: &ChatRequest) -> u64 {
    if !chat.needs.images {
        return chat.body.len() as u64;
    }
    let texts: u64 = chat.parts.iter().map(|part| part.span.len() as u64 + AROUND).sum();
    let body = str::from_utf8(&chat.body).unwrap_or_default();
    let pictures: usize = PICTURES.iter().map(|begins| body.matches(begins).count()).sum();
    texts + PICTURE * pictures.max(1) as u64
}

impl Spending {
    /// Room for this request at this target in every budget of the caller.
    ///
    /// # Errors
    /// The first budget that has not enough left.
    pub(crate) async fn reserve(
        &self,
        request: &Inspected,
        route: &Route,
        target: &Target,
        cost: &Cost,
    ) -> Result<Reservation, BudgetRefusal> {
        let (provider, model) = (target.provider.shared_name(), &target.model);
        let most = model.max_output.map_or(u64::MAX, u64::from);
        let output = cost.output.unwrap_or_else(|| self.budgets.default_max_tokens().into());
        let streaming = if cost.stream { self.stream } else { Duration::ZERO };
        let ask = Ask {
            request: request.id,
            caller: &request.caller,
            route: route.label.clone(),
            provider: provider.clone(),
            model: model.name.clone(),
            price: target.provider.price(model),
            input: self.budgets.tokens_of(cost.input, provider, &model.name),
            output: output.min(most).saturating_mul(cost.n),
            expires: request.deadline.instant() + streaming,
        };
        self.budgets.reserve(ask).await
    }
}
