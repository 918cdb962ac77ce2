//! The weir agent: everything that touches the world.

pub mod source;
