//! Strict test doubles on loopback, a fault proxy and starters of real components; tests only.
