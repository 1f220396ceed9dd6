//! tower-keep
