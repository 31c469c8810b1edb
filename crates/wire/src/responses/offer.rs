//! What of OpenAI's responses is not offered, with the sentence that says what to do instead. Door and reader ask here,
//! so that a request is refused in the same words whether it would be forwarded or translated.

use crate::members::unsupported;
use portcullis_domain::Failure;

/// Members that are refused unless they say nothing (`null`, `false`, an empty array), with the reason.
pub const NOT_OFFERED: [(&str, &str); 5] = [
    ("previous_response_id", "Answers are not stored here; send the whole conversation as input."),
    ("conversation", "Conversations are not stored here; send the whole conversation as input."),
    ("prompt", "Prompts are not stored here; send instructions and input."),
    ("background", "Answers are not stored here, so none can be fetched later; send background: false."),
    ("include", "Nothing can be added to an answer; leave include out."),
];

/// Whether a member of [`NOT_OFFERED`] says nothing; `raw` is its value as JSON text.
///
/// # Errors
/// `InvalidInput` with `UnsupportedParameter`.
pub fn check_offered(member: &'static str, raw: &str) -> Result<(), Failure> {
    let says_nothing = matches!(raw, "null" | "false")
        || raw
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|in_| in_.trim().is_empty());
    match NOT_OFFERED.iter().find(|(name, _)| *name == member) {
        Some((name, why)) if !says_nothing => Err(unsupported(name, *why)),
        Some(_) | None => Ok(()),
    }
}

/// The refusal of a tool that is no function; `path` is where its type stands.
#[must_use]
pub fn refused_tool(path: &str) -> Failure {
    unsupported(path, "Only tools of type function are offered; built-in tools are not.")
}

/// The refusal of an item of the input; `path` is where its type stands.
#[must_use]
pub fn refused_item(path: &str) -> Failure {
    unsupported(path, "Items are of type message, function_call, function_call_output or reasoning.")
}

/// The refusal of a part of a message's content; `path` is where its type stands.
#[must_use]
pub fn refused_content(path: &str) -> Failure {
    unsupported(path, "Parts of content are of type input_text, input_image, output_text or refusal.")
}
