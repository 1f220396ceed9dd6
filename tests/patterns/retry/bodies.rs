//! Requests with bodies.
