//! The agent: everything of weir that touches the world. The decisions are in `weir-rules`.

#![deny(unsafe_code)]

pub mod kernel;
