//! A sans-IO model of the backend.
