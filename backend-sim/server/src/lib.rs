//! The backend over HTTP.
