//! Makes the test title with FFmpeg.
