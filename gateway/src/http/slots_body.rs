//! The answer with slots, written by hand: a month of a large team is thousands of them.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{StaffId, Zone};
use flate2::{Compression, write::GzEncoder};
use jiff::{Timestamp, tz::Offset};
use projections::availability::{Body, OfferedSlot, SlotList};
use streams::Cursor;
use tokio::sync::OnceCell;

use super::negotiate;

/// The body in each form in which it is sent.
#[derive(Debug)]
pub(crate) struct SlotsBody {
    json: Bytes,
    /// Made when somebody first wants it.
    gzip: OnceCell<Bytes>,
    tag: HeaderValue,
}

/// About what one slot takes.
const SLOT_BYTES: usize = 160;
/// Compressing more than this would keep a thread from other requests.
const SMALL: usize = 16 * 1024;

impl Body for SlotsBody {
    fn of(list: &SlotList) -> Self {
        Self {
            json: write(&list.zone, &list.slots, list.position).into(),
            gzip: OnceCell::new(),
            tag: tag(list),
        }
    }

    fn bytes(&self) -> usize {
        // The compressed form takes about a tenth, and may come later.
        self.json.len() + self.json.len() / 8
    }
}

impl SlotsBody {
    /// What this request wants of it.
    pub(super) async fn respond(&self, request: &HeaderMap) -> Response {
        let mut response = if negotiate::is_known(request, &self.tag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else if let Some(gzip) = self.gzip(request).await {
            let coding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
            (coding, gzip).into_response()
        } else {
            self.json.clone().into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        response
    }

    async fn gzip(&self, request: &HeaderMap) -> Option<Bytes> {
        if !negotiate::takes_gzip(request) {
            return None;
        }
        let json = self.json.clone();
        let made = self.gzip.get_or_try_init(|| async {
            if json.len() <= SMALL {
                return compress(&json);
            }
            tokio::task::spawn_blocking(move || compress(&json)).await?
        });
        match made.await {
            Ok(gzip) => Some(gzip.clone()),
            Err(error) => {
                tracing::error!(%error, "an answer could not be compressed");
                None
            }
        }
    }
}

fn compress(json: &[u8]) -> std::io::Result<Bytes> {
    let mut gzip = GzEncoder::new(Vec::with_capacity(json.len() / 8 + 64), Compression::fast());
    gzip.write_all(json)?;
    Ok(gzip.finish()?.into())
}

/// Weak: it says that the same can be booked, whatever the form and the position.
fn tag(list: &SlotList) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    list.zone.hash(&mut hasher);
    list.slots.hash(&mut hasher);
    let text = format!("W/\"{:016x}\"", hasher.finish());
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("W/\"\""))
}

/// As `SlotsAnswer`.
fn write(zone: &Zone, slots: &[OfferedSlot], position: Cursor) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + slots.len() * SLOT_BYTES);
    out.extend_from_slice(b"{\"timezone\":\"");
    out.extend_from_slice(zone.name().as_bytes());
    out.extend_from_slice(b"\",\"slots\":[");
    let (mut starts, mut ends, mut locals) = (Days::default(), Days::default(), Days::default());
    let mut offsets = Offsets::new(zone);
    let mut staff: HashMap<StaffId, String> = HashMap::new();
    for (n, offered) in slots.iter().enumerate() {
        let (start, end) = (offered.slot.start(), offered.slot.end());
        let offset = offsets.at(start);
        out.extend_from_slice(if n == 0 { b"{\"start\":\"" } else { b",{\"start\":\"" });
        starts.write(start.as_second(), &mut out);
        out.extend_from_slice(b"Z\",\"end\":\"");
        ends.write(end.as_second(), &mut out);
        out.extend_from_slice(b"Z\",\"local_start\":\"");
        locals.write(start.as_second() + i64::from(offset.seconds()), &mut out);
        out.extend_from_slice(&offsets.text);
        out.extend_from_slice(b"\",\"staff_id\":\"");
        let id = staff.entry(offered.staff_id).or_insert_with_key(ToString::to_string);
        out.extend_from_slice(id.as_bytes());
        match offered.remaining {
            None => out.extend_from_slice(b"\"}"),
            Some(remaining) => {
                out.extend_from_slice(b"\",\"remaining\":");
                out.extend_from_slice(remaining.to_string().as_bytes());
                out.push(b'}');
            }
        }
    }
    out.extend_from_slice(b"],\"position\":\"");
    out.extend_from_slice(position.to_string().as_bytes());
    out.extend_from_slice(b"\"}");
    out
}

const DAY: i64 = 86_400;

/// Writes instants of a calendar without offset; most are of the day of the one before.
#[derive(Default)]
struct Days {
    day: Option<i64>,
    date: String,
}

impl Days {
    fn write(&mut self, second: i64, out: &mut Vec<u8>) {
        let (day, rest) = (second.div_euclid(DAY), second.rem_euclid(DAY));
        if self.day != Some(day) {
            self.day = Some(day);
            let midnight = Timestamp::from_second(day * DAY).unwrap_or_default();
            self.date = Offset::UTC.to_datetime(midnight).date().to_string();
        }
        out.extend_from_slice(self.date.as_bytes());
        let ([h1, h2], [m1, m2]) = (two(rest / 3600), two(rest / 60 % 60));
        let [s1, s2] = two(rest % 60);
        out.extend_from_slice(&[b'T', h1, h2, b':', m1, m2, b':', s1, s2]);
    }
}

/// The offset of a zone, looked up once for each stretch in which it stays the same.
struct Offsets<'a> {
    zone: &'a Zone,
    offset: Offset,
    text: Vec<u8>,
    valid: std::ops::Range<Timestamp>,
}

impl<'a> Offsets<'a> {
    const fn new(zone: &'a Zone) -> Self {
        let valid = Timestamp::MAX..Timestamp::MIN;
        Self { zone, offset: Offset::UTC, text: vec![], valid }
    }

    fn at(&mut self, at: Timestamp) -> Offset {
        if !self.valid.contains(&at) {
            self.offset = self.zone.tz().to_offset(at);
            let next = self.zone.tz().following(at).next();
            self.valid = at..next.map_or(Timestamp::MAX, |next| next.timestamp());
            let minutes = i64::from(self.offset.seconds()).abs() / 60;
            let sign = if self.offset.is_negative() { b'-' } else { b'+' };
            let ([h1, h2], [m1, m2]) = (two(minutes / 60), two(minutes % 60));
            self.text = vec![sign, h1, h2, b':', m1, m2];
        }
        self.offset
    }
}

/// A number below a hundred as two digits.
fn two(number: i64) -> [u8; 2] {
    let digit = |n: i64| b'0' + u8::try_from(n % 10).unwrap_or_default();
    [digit(number / 10), digit(number)]
}

#[cfg(test)]
mod tests {
    use domain::TimeSlot;
    use streams::clock;

    use super::*;
    use crate::http::slots::{SlotAnswer, SlotsAnswer};

    #[test]
    fn what_is_written_by_hand_is_what_serde_writes() {
        let staff = [StaffId::new(clock::new_id()), StaffId::new(clock::new_id())];
        let position = Cursor { transaction_id: 0x1f, position: 7 };
        for zone in [
            "UTC",
            "Europe/London",
            "America/New_York",
            "America/St_Johns",
            "Asia/Kolkata",
            "Australia/Lord_Howe",
            "Pacific/Kiritimati",
            "Pacific/Niue",
        ] {
            let zone: Zone = zone.parse().unwrap();
            // Two years, with every change of the clocks; minutes of all kinds.
            let starts = (0..40_000).map(|n| 1_772_000_000 + n * 1_579);
            let offered = |second| OfferedSlot {
                slot: TimeSlot::lasting(Timestamp::from_second(second).unwrap(), 95).unwrap(),
                staff_id: staff[usize::try_from(second % 2).unwrap()],
                remaining: u32::try_from(second % 3).ok().filter(|left| *left > 0),
            };
            let slots: Vec<OfferedSlot> = starts.map(offered).collect();
            let expected = serde_json::to_string(&SlotsAnswer {
                timezone: zone.clone(),
                slots: slots.iter().map(|slot| SlotAnswer::of(slot, &zone)).collect(),
                position: position.to_string(),
            });
            let written = String::from_utf8(write(&zone, &slots, position)).unwrap();
            assert!(written == expected.unwrap(), "{zone}: {}", &written[..1_000]);
        }
        let none = String::from_utf8(write(&Zone::UTC, &[], position)).unwrap();
        assert_eq!(none, r#"{"timezone":"UTC","slots":[],"position":"1f-7"}"#);
    }
}
