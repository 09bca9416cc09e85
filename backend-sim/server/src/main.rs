//! The backend over HTTP.

fn main() {}
