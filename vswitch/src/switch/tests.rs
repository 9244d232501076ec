//! Tests of switch.
