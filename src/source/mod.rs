//! Sources of cluster state.
//!
//! A source decodes Kubernetes objects, [`convert`]s each to the compact types of
//! [`weir_rules::cluster`], and leaves out what is bad, with the reason.

pub mod api;
pub mod convert;
mod decode;
mod kind;
pub mod manifest;
pub mod object;
mod validate;

pub use kind::{Kind, ObjectKey};
