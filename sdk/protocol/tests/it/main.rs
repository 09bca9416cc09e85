//! The bytes that others depend on.

mod wire;
