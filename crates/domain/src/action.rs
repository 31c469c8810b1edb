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
    /// A question to documents.
    Ask,
    /// A message typed at a chat door, commands included.
    Message,
    /// A search in documents, or a look at what there is.
    Search,
    /// Documents taken in or out.
    Ingest,
    /// A digest of news.
    News,
    /// A press of a button that only shows something else.
    Menu,
    /// A source of news added.
    AddSource,
    /// A group of posts summed up by a language model.
    Summarise,
}

impl Action {
    /// Every action, in the order of their declaration.
    pub const ALL: [Self; 12] = [
        Self::Chat,
        Self::Embed,
        Self::Models,
        Self::Admin,
        Self::Ask,
        Self::Message,
        Self::Search,
        Self::Ingest,
        Self::News,
        Self::Menu,
        Self::AddSource,
        Self::Summarise,
    ];

    /// The stable lower-case name: metric label, configuration key, audit field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embed => "embed",
            Self::Models => "models",
            Self::Admin => "admin",
            Self::Ask => "ask",
            Self::Message => "message",
            Self::Search => "search",
            Self::Ingest => "ingest",
            Self::News => "news",
            Self::Menu => "menu",
            Self::AddSource => "add_source",
            Self::Summarise => "summarise",
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
    /// The messenger Signal.
    Signal,
    /// The messenger Telegram.
    Telegram,
}

impl Door {
    /// Every door.
    pub const ALL: [Self; 4] = [Self::Http, Self::Admin, Self::Signal, Self::Telegram];

    /// The stable lower-case name: metric label and audit field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Admin => "admin",
            Self::Signal => "signal",
            Self::Telegram => "telegram",
        }
    }
}
