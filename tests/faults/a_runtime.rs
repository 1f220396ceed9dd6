//! A. Callbacks that panic, panics in drops, tasks and runtimes that end.
