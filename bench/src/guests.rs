//! Clients that come over HTTP.

use anyhow::{Context, Result};
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use streams::{Cursor, clock};

use crate::{
    load::{Outcome, Worker},
    salon::{Calendars, Salon, Who, Wish, address},
    wire::{Wire, get, post},
};

/// Books free slots, one after another.
pub(crate) struct Booker {
    wire: Wire,
    calendars: Calendars,
}

/// A request that books `wish`.
pub(crate) fn booking(wish: Wish, who: Who) -> Vec<u8> {
    let body = serde_json::json!({
        "service_id": wish.service_id, "staff_id": wish.staff_id, "start": wish.start,
        "customer": {"name": "Ada Guest", "email": address(who), "phone": "+1 555 0100"},
    });
    post("/api/v1/public/book", &clock::new_id().to_string(), &body.to_string())
}

/// Sends a booking: how it ended, and its position when it was done.
pub(crate) async fn send(wire: &mut Wire, request: &[u8]) -> (Outcome, Option<Cursor>) {
    match wire.send(request).await {
        Ok(reply) => match reply.status {
            201 => {
                let position = reply.header("x-position").and_then(|text| text.parse().ok());
                (Outcome::Done, position)
            }
            409 => (Outcome::Refused, None),
            _ => (Outcome::Failed, None),
        },
        Err(_) => (Outcome::Failed, None),
    }
}

impl Booker {
    /// So many clients of one server.
    pub(crate) fn many(address: &str, calendars: &Calendars, clients: usize) -> Vec<Self> {
        let one = |_| Self { wire: Wire::new(address), calendars: calendars.clone() };
        (0..clients).map(one).collect()
    }
}

impl Worker for Booker {
    async fn once(&mut self) -> Outcome {
        match self.calendars.next() {
            Some(wish) => send(&mut self.wire, &booking(wish, Who::New)).await.0,
            None => Outcome::Failed,
        }
    }
}

/// Asks for the same pages in turn.
pub(crate) struct Reader {
    wire: Wire,
    requests: std::sync::Arc<Vec<Vec<u8>>>,
    turn: usize,
}

impl Reader {
    /// So many clients of one server, each beginning at another page.
    pub(crate) fn many(address: &str, requests: Vec<Vec<u8>>, clients: usize) -> Vec<Self> {
        let requests = std::sync::Arc::new(requests);
        let one = |turn| Self {
            wire: Wire::new(address),
            requests: std::sync::Arc::clone(&requests),
            turn,
        };
        (0..clients).map(one).collect()
    }
}

impl Worker for Reader {
    async fn once(&mut self) -> Outcome {
        let turn = self.turn.checked_rem(self.requests.len()).unwrap_or_default();
        self.turn = turn + 7;
        let Some(request) = self.requests.get(turn) else { return Outcome::Failed };
        match self.wire.send(request).await {
            Ok(reply) if reply.status == 200 => Outcome::Done,
            Ok(_) | Err(_) => Outcome::Failed,
        }
    }
}

/// The path of the slots of thirty days, of one staff member or of any.
pub(crate) fn slots_path(salon: &Salon, staff: Option<usize>) -> Result<String> {
    let from = date_in(2)?;
    let to = from.checked_add(29.days())?;
    let staff_id = match staff {
        Some(n) => salon.staff.get(n).context("a staff member")?.to_string(),
        None => "any".to_owned(),
    };
    let service_id = salon.service_id;
    Ok(format!(
        "/api/v1/public/slots?service_id={service_id}&staff_id={staff_id}&from={from}&to={to}"
    ))
}

fn date_in(days: i64) -> Result<Date> {
    let now: Timestamp = clock::now();
    Ok(TimeZone::UTC.to_datetime(now).date().checked_add(days.days())?)
}

/// Requests for the slots of every staff member of every business.
pub(crate) fn everybodys_slots(salons: &[Salon]) -> Result<Vec<Vec<u8>>> {
    let mut requests = Vec::new();
    for salon in salons {
        for n in 0..salon.staff.len() {
            requests.push(get(&slots_path(salon, Some(n))?, false));
        }
    }
    Ok(requests)
}
