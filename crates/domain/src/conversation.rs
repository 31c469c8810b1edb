//! The one internal form of conversations and answers, through which formats of the field are translated into each
//! other. It holds what at least two formats can say; what only one can say is named when it is dropped.
//!
//! Invariant: reading a request and writing it in the same format loses nothing that this form holds (property tests
//! of `portcullis-wire`). Source: gateway.md section 8.

use crate::{Role, Usage};
use serde_json::Value;

/// A request for a conversation turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// Who said what, in order. Instructions are turns of `Role::System`, wherever they stand.
    pub turns: Vec<Turn>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether and what it must call.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several tools in one turn.
    pub parallel_tools: Option<bool>,
    /// What the answer must look like.
    pub shape: Shape,
    /// Sampling and bounds.
    pub sampling: Sampling,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Members that the reader understood but this form cannot hold, or does not know, in the caller's words.
    pub unheld: Vec<String>,
}

/// One turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Whose.
    pub role: Role,
    /// What, in order.
    pub parts: Vec<Part>,
}

/// A piece of a turn or of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Words.
    Text(String),
    /// Words with which the model refused.
    Refusal(String),
    /// The model's thoughts, where a format shows them.
    Reasoning {
        /// The words; may be empty where only the signature is kept.
        text: String,
        /// What the provider needs to recognise them as its own in a later turn.
        signature: Option<String>,
    },
    /// A picture.
    Image(Image),
    /// The model wants a tool called.
    ToolCall(ToolCall),
    /// What a tool answered.
    ToolResult(ToolResult),
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// Somewhere on the web; the provider fetches it.
    Url(String),
    /// In the request.
    Data {
        /// Such as `image/png`.
        mime: String,
        /// The bytes.
        base64: String,
    },
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Ties the result to the call. Formats without ids get `call_<n>_<hash>`, the same for the same turn.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments, a JSON object as text (as the model wrote it: it may be broken).
    pub arguments: String,
    /// What the provider needs to recognise the call as its own in a later turn (Gemini's thought signature).
    pub signature: Option<String>,
}

/// The result of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    /// Of which call.
    pub id: String,
    /// The tool, where the format tells; else the writer finds it by the call's id.
    pub name: Option<String>,
    /// What came of it: texts and pictures.
    pub parts: Vec<Part>,
    /// Whether the tool failed.
    pub failed: bool,
}

/// A tool on offer.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// JSON schema of its arguments.
    pub parameters: Option<Value>,
    /// Whether the arguments must follow the schema exactly.
    pub strict: Option<bool>,
}

/// Whether and what must be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As the model likes.
    Auto,
    /// Nothing.
    None,
    /// Something.
    Required,
    /// This one.
    Named(String),
}

/// What an answer must look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Shape {
    /// Words.
    #[default]
    Text,
    /// Any JSON object.
    Json,
    /// JSON of a schema.
    Schema {
        /// Its name.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// Whether it must be followed exactly.
        strict: Option<bool>,
    },
}

/// Sampling and bounds; what is not said is the provider's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// Most tokens to write.
    pub max_tokens: Option<u32>,
    /// 0 to 2.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// Tokens considered.
    pub top_k: Option<u32>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// For answers that repeat.
    pub seed: Option<i64>,
    /// -2 to 2.
    pub presence_penalty: Option<f64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// Answers wanted.
    pub n: Option<u32>,
    /// Whether log probabilities are wanted.
    pub logprobs: Option<bool>,
    /// How many alternatives a token.
    pub top_logprobs: Option<u32>,
    /// `minimal`, `low`, `medium`, `high`: how much thinking.
    pub reasoning_effort: Option<String>,
    /// Tokens that thinking may take; 0 turns it off.
    pub reasoning_tokens: Option<u32>,
    /// The caller's own name for its user.
    pub user: Option<String>,
}

/// A member of [`Conversation`] that not every format can say. A writer that cannot say one names it, and the caller
/// is told in the words of its own format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Member {
    /// Pictures by address.
    ImageUrl,
    /// [`Part::Reasoning`].
    Reasoning,
    /// [`Conversation::parallel_tools`].
    ParallelTools,
    /// [`Conversation::tool_choice`].
    ToolChoice,
    /// [`Tool::strict`] or strictness of a schema.
    Strict,
    /// [`Conversation::shape`].
    Shape,
    /// [`Sampling::temperature`].
    Temperature,
    /// [`Sampling::top_p`].
    TopP,
    /// [`Sampling::top_k`].
    TopK,
    /// [`Sampling::seed`].
    Seed,
    /// [`Sampling::presence_penalty`].
    PresencePenalty,
    /// [`Sampling::frequency_penalty`].
    FrequencyPenalty,
    /// [`Sampling::n`].
    N,
    /// [`Sampling::logprobs`] and [`Sampling::top_logprobs`].
    Logprobs,
    /// [`Sampling::stop`], or some of them.
    Stop,
    /// [`Sampling::reasoning_effort`] and [`Sampling::reasoning_tokens`].
    Effort,
    /// [`Sampling::user`].
    User,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    /// The provider's id for it.
    pub id: String,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// Unix seconds; 0 where the format does not tell.
    pub created: i64,
    /// The answers.
    pub choices: Vec<Choice>,
    /// What it cost.
    pub usage: Option<Usage>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What was said and called, in order.
    pub parts: Vec<Part>,
    /// Why it ended.
    pub finish: Finish,
    /// Log probabilities in OpenAI's shape, where they were asked for and told.
    pub logprobs: Option<Value>,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It was said.
    Stop,
    /// At one of the caller's stop texts, where the format tells which.
    StopText(String),
    /// Its length was used up.
    Length,
    /// Tools are to be called.
    ToolCalls,
    /// The provider's filter, or the model itself, refused to go on.
    ContentFilter,
}

/// One step of a streamed answer. Steps of a choice come in order; parts of a choice never interleave but for tool
/// calls, which carry their index.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The answer begins; before every other step, once.
    Begin {
        /// The provider's id for it.
        id: String,
        /// The model that answers.
        model: String,
    },
    /// Words.
    Text {
        /// Of which answer, from 0.
        choice: u32,
        /// The words.
        text: String,
    },
    /// Words of a refusal by the model.
    Refusal {
        /// Of which answer.
        choice: u32,
        /// The words.
        text: String,
    },
    /// Thoughts.
    Reasoning {
        /// Of which answer.
        choice: u32,
        /// The words.
        text: String,
        /// See [`Part::Reasoning`]; comes with the last step of the thoughts.
        signature: Option<String>,
    },
    /// A tool call begins.
    ToolCall {
        /// Of which answer.
        choice: u32,
        /// Which call of it, from 0.
        index: u32,
        /// See [`ToolCall::id`].
        id: String,
        /// The tool.
        name: String,
        /// See [`ToolCall::signature`].
        signature: Option<String>,
    },
    /// More of a tool call's arguments.
    Arguments {
        /// Of which answer.
        choice: u32,
        /// Which call of it.
        index: u32,
        /// A piece of the JSON text.
        fragment: String,
    },
    /// Log probabilities of what was said last, in OpenAI's shape.
    Logprobs {
        /// Of which answer.
        choice: u32,
        /// They.
        logprobs: Value,
    },
    /// An answer has ended.
    Finish {
        /// Which.
        choice: u32,
        /// Why.
        reason: Finish,
    },
    /// What all cost; the last one told counts.
    Usage(Usage),
}

/// Vectors, in the order of their texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    /// The model that made them.
    pub model: String,
    /// They.
    pub vectors: Vec<Vec<f32>>,
    /// What they cost.
    pub usage: Option<Usage>,
}
