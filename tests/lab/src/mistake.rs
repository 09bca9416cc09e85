//! What is wrong with the arguments, and not with what they are about.

/// A mistake in the arguments, with what would be right: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Mistake(pub(crate) String);
