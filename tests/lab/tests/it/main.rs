//! What the program answers.
