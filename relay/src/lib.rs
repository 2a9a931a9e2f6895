//! Placeholder.

pub mod config;
pub mod net;
pub mod listener;
pub mod stream;
