//! What crosses the wire, and the manifest model.
//!
//! JSON is `snake_case` and names end in their unit: `_unix_ms` is wall time, `_position_ms` a place on the
//! timeline, `_ms` alone a span. Unknown fields are ignored; unknown enum values are carried in an
//! `Other` variant and are never fatal. Nothing here does I/O or reads a clock.
#![no_std]

extern crate alloc;

pub mod appliance;
pub mod manifest;
pub mod play;
pub mod report;
pub mod steering;
pub mod telemetry;
