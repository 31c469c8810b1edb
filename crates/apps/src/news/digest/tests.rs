//! The digest over doubles of the web and of a provider.
