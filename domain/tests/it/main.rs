//! Contracts that outlive a build.
#![cfg(test)]

mod golden;
mod states;
mod zones;
