//! The streaming player SDK.
