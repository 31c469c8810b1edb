//! What differs between generations of Anthropic's models in one and the same format. Source: Anthropic's model
//! documentation, "Extended thinking", "Adaptive thinking" and "Effort".

/// How a model is told to think, and what of sampling it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generation {
    /// Thinks within a budget of tokens. Names that are not Anthropic's are taken for such: servers of others that speak
    /// this format speak its oldest form.
    Budget,
    /// Decides itself how much it thinks, within an effort.
    Adaptive,
    /// The same, and takes no sampling any more.
    Unsampled,
}

/// Parts of names that tell a generation; what none of them fits is newer than this table.
const NAMES: &[(&str, Generation)] = &[
    ("claude-2", Generation::Budget),
    ("claude-3", Generation::Budget),
    ("claude-instant", Generation::Budget),
    ("-4-0", Generation::Budget),
    ("-4-1", Generation::Budget),
    ("-4-5", Generation::Budget),
    ("-4-20", Generation::Budget),
    ("-4-6", Generation::Adaptive),
];

/// The generation of a model.
pub(super) fn generation(model: &str) -> Generation {
    if !model.contains("claude") {
        return Generation::Budget;
    }
    let known = NAMES.iter().find(|(part, _)| model.contains(part));
    known.map_or(Generation::Unsampled, |(_, generation)| *generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_known_by_its_name_and_a_new_one_is_taken_for_the_newest() {
        for (name, expected) in [
            ("claude-sonnet-4-5-20250929", Generation::Budget),
            ("claude-sonnet-4-20250514", Generation::Budget),
            ("claude-3-7-sonnet-latest", Generation::Budget),
            ("claude-opus-4-6", Generation::Adaptive),
            ("claude-opus-4-7", Generation::Unsampled),
            ("claude-opus-5", Generation::Unsampled),
            ("kimi-k2", Generation::Budget),
        ] {
            assert_eq!(generation(name), expected, "{name}");
        }
    }
}
