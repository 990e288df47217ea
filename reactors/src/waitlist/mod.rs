//! Offers time that becomes free to guests who wait: `waker` notes where time may have become free,
//! `offerer` looks there.

mod offerer;
mod waker;

pub(crate) use offerer::Offerer;
pub(crate) use waker::Waker;
