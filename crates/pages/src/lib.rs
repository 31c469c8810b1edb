//! Pages and feeds of the web: fetched politely (robots.txt, pace, conditional requests) and from public addresses
//! only. Ingestion uses it, and the news app.
//!
//! Invariants: every request passes the address guard, the line and the dependency `pages`, redirects and robots.txt
//! included; nothing larger than its bound is held, counted after decompression; what a caller is told names no address
//! and no cause inside our network. Source: news.md section 4; RFC 9110; RFC 9309.

mod body;
pub mod config;
mod error;
mod fetch;
mod gate;
mod head;
mod line;
mod manners;
mod robots;

pub use config::{PagesConfig, RobotsFor};
pub use error::PageError;
pub use fetch::{Kind, Options, Page, Pages, Parts};
pub use robots::Robots;
pub use url::Url;
