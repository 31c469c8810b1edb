//! The whole product, from outside: the real binary as a process, and the real runtime in process on port 0. One
//! binary with a module for each subject, because linking is the slow part. Invariant: every test has its own
//! folder and its own ports, so all run at once.

mod cli;
