//! The event log and its fan-out, against real servers.
#![cfg(test)]

mod cqrs_es_faults;
mod customers;
mod fan_out;
mod feed;
mod group;
mod log;
mod places;
mod requests;
mod stock_reader;
mod tally;
mod tenants;
