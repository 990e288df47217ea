//! Slots from kept answers, on real servers: they are what reading without any cache would give.
#![cfg(test)]

mod answers;
mod away;
mod random;
mod salon;
