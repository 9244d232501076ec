//! The `tapestry` binary; everything is in the library beside it.

fn main() {}
