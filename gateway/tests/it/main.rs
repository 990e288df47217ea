//! The whole system, as its users meet it: the real binary on real servers.
#![cfg(test)]

mod api_document;
mod appointments;
mod bad_input;
mod booking;
mod business;
mod calendar_files;
mod calendars;
mod classes;
mod cluster;
mod customers;
mod explain;
mod faults;
mod identity;
mod intake;
mod manage;
mod odd_peers;
mod odd_requests;
mod ownership;
mod races;
mod reminders;
mod replay;
mod replay_faults;
mod reschedule;
mod resources;
mod rules;
mod salon;
mod series;
mod several;
mod slots;
mod stand;
mod storm;
mod tenancy;
