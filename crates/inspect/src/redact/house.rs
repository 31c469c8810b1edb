//! What tells strangers about the house: paths, statements of a database, stack lines. Hidden where text leaves it.

use super::shapes::{Class, Shape, loose};

pub(super) const HOUSE: &[Shape] = &[
    loose(
        Class::House,
        "path",
        &[
            "/root/", "/home/", "/users/", "/tmp/", "/var/", "/usr/", "/etc/", "/opt/", "/srv/", "/mnt/",
            "/work/", "/proc/", "/run/", "/app/", ":\\",
        ],
        r#"(?:^|[\s"'(=:,`])((?:file://)?/(?:root|home|[Uu]sers|tmp|var|usr|etc|opt|srv|mnt|work|proc|run|app)/[^\s"'),:`]+|[A-Za-z]:\\[^\s"'),:`]+)"#,
        &["at /home/ann/x.rs:5", "C:\\Users\\ann\\x.txt is missing"],
        &["see /v1/chat/completions", "https://example.org/home/"],
    ),
    loose(
        Class::House,
        "sql",
        &["select ", "insert ", "update ", "delete ", "create ", "alter ", "drop "],
        r"\b(?:SELECT\s[^;]{1,200}?\sFROM\s|INSERT\s+INTO\s|UPDATE\s+[^ ]+\s+SET\s|DELETE\s+FROM\s|(?:CREATE|ALTER|DROP)\s+(?:TABLE|INDEX|VIEW|SCHEMA)\s|(?i:select\s[^;]{1,200}?\sfrom\s+[a-z_.\x22]+\s+(?:where|limit|order\s+by|join)\b|insert\s+into\s+[a-z_.\x22]+\s*\())[^;\n]*",
        &["error in SELECT id, name FROM keys WHERE id = 1; done"],
        &["Select a model from the list."],
    ),
    loose(
        Class::House,
        "stack",
        &[".rs:", ".py\", line", "stack backtrace", "traceback (most", "panicked at"],
        r#"(?m)(?:^\s*(?:[0-9]+: |at ).{0,200}\.rs:[0-9]+.*$|[A-Za-z0-9_./-]+\.rs:[0-9]+(?::[0-9]+)?|File "[^"]{0,200}", line [0-9]+.*$|stack backtrace:|Traceback \(most recent call last\):|panicked at .*$)"#,
        &["thread panicked at src/main.rs:10:5"],
        &["the file main.rs is long"],
    ),
];
