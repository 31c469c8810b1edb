//! The way in: identify, admit, inspect, run, finish.
