//! A sans-IO model of a network path.
