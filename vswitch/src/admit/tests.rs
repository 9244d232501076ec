//! Tests of admit.
