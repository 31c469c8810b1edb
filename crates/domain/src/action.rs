//! What a caller may ask for, and through which door. Both are closed sets, so that they can be metric labels
//! and table keys: a new limit is a new variant here and the compiler names every table that lacks a row.

/// A kind of work with limits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// A conversation turn answered by a language model.
    Chat,
    /// Texts turned into vectors.
    Embed,
    /// The list of models this caller may use.
    Models,
    /// A change or a look through the admin API.
    Admin,
}

impl Action {
    /// Every action, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Embed, Self::Models, Self::Admin];

    /// The stable lower-case name: metric label, configuration key, audit field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embed => "embed",
            Self::Models => "models",
            Self::Admin => "admin",
        }
    }

    /// Position in [`Action::ALL`], for tables indexed by action.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The way a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// The OpenAI-compatible gateway and REST APIs.
    Http,
    /// The admin listener.
    Admin,
}

impl Door {
    /// Every door.
    pub const ALL: [Self; 2] = [Self::Http, Self::Admin];

    /// The stable lower-case name: metric label and audit field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Admin => "admin",
        }
    }
}
