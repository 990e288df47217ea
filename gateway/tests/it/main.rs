//! The whole system, as its users meet it: the real binary on real servers.
#![cfg(test)]

mod api_document;
mod appointments;
mod approval;
mod bad_input;
mod booking;
mod business;
mod calendar_files;
mod calendars;
mod cluster;
mod explain;
mod faults;
mod identity;
mod manage;
mod odd_peers;
mod odd_requests;
mod ownership;
mod races;
mod reminders;
mod replay;
mod replay_faults;
mod reschedule;
mod rules;
mod salon;
mod slots;
mod stand;
mod storm;
mod tenancy;
mod waitlist;
