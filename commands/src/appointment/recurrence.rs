//! The starts of a series, by its rule (RFC 5545). The rule is read on the wall clock of the business, so
//! that a visit at nine stays at nine whatever the clocks do.

use domain::{FieldError, series::MOST};
use jiff::civil::{Date, DateTime};
use rrule::RRuleSet;

const FIELD: &str = "recurrence.rule";
/// So many weeks or months lie between two visits at most.
const MOST_INTERVAL: u32 = 12;
const DAYS: &[&str] = &["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

fn wrong(message: impl Into<String>) -> FieldError {
    FieldError { field: FIELD.to_owned(), message: message.into() }
}

/// The local starts, the first among them.
///
/// # Errors
/// What in the rule cannot be had.
pub(super) fn starts(rule: &str, first: DateTime) -> Result<Vec<DateTime>, FieldError> {
    let rule = checked(rule)?;
    // As if the wall clock were UTC: the zone comes in later, visit by visit.
    let text = format!("DTSTART:{}Z\nRRULE:{rule}", first.strftime("%Y%m%dT%H%M%S"));
    let set: RRuleSet = text.parse().map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let most = u16::try_from(MOST + 1).unwrap_or(u16::MAX);
    let found = set.all(most).dates;
    let local = found.iter().map(|at| at.format("%Y-%m-%dT%H:%M:%S").to_string());
    let starts: Vec<DateTime> = local.filter_map(|text| text.parse().ok()).collect();
    if !(2..=MOST).contains(&starts.len()) {
        return Err(wrong(format!("must make 2 to {MOST} visits; this makes {}", starts.len())));
    }
    if starts.first() != Some(&first) {
        return Err(wrong("must begin with the start that is asked for"));
    }
    Ok(starts)
}

/// The parts of rules that visits repeat by; `UNTIL` is a local date, and that date belongs to it.
fn checked(rule: &str) -> Result<String, FieldError> {
    let (mut parts, mut names): (Vec<String>, Vec<&str>) = (vec![], vec![]);
    for part in rule.split(';') {
        let (name, value) =
            part.split_once('=').ok_or_else(|| wrong("must be like FREQ=WEEKLY;COUNT=10"))?;
        if names.contains(&name) {
            return Err(wrong(format!("must have {name} once")));
        }
        names.push(name);
        parts.push(match name {
            "FREQ" if matches!(value, "WEEKLY" | "MONTHLY") => part.to_owned(),
            "INTERVAL" => number(part, value, 1..=MOST_INTERVAL)?,
            "COUNT" => number(part, value, 2..=u32::try_from(MOST).unwrap_or(u32::MAX))?,
            "BYDAY" if value.split(',').all(|day| DAYS.contains(&day)) => part.to_owned(),
            "UNTIL" => {
                let date = Date::strptime("%Y%m%d", value);
                let date = date.map_err(|_odd| wrong("must have a date as UNTIL, such as 20261231"))?;
                format!("UNTIL={}T235959Z", date.strftime("%Y%m%d"))
            }
            _ => {
                let message = "must have FREQ=WEEKLY or MONTHLY, COUNT or UNTIL, and perhaps INTERVAL, \
                               and BYDAY of weekdays";
                return Err(wrong(message));
            }
        });
    }
    let has = |name| names.contains(&name);
    if !has("FREQ") || has("COUNT") == has("UNTIL") {
        return Err(wrong("must have FREQ, and either COUNT or UNTIL"));
    }
    if has("BYDAY") && rule.contains("FREQ=MONTHLY") {
        return Err(wrong("must have BYDAY with FREQ=WEEKLY alone"));
    }
    Ok(parts.join(";"))
}

fn number(
    part: &str,
    value: &str,
    range: std::ops::RangeInclusive<u32>,
) -> Result<String, FieldError> {
    let fits = value.parse().is_ok_and(|number| range.contains(&number));
    let name = part.split('=').next().unwrap_or_default();
    let message = format!("must have {name} of {} to {}", range.start(), range.end());
    fits.then(|| part.to_owned()).ok_or_else(|| wrong(message))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn days(rule: &str, first: DateTime) -> Vec<String> {
        let starts = starts(rule, first).unwrap();
        starts.iter().map(|start| start.strftime("%m-%d %H:%M").to_string()).collect()
    }

    #[test]
    fn weeks_months_weekdays_and_ends() {
        let first = date(2026, 3, 2).at(9, 0, 0, 0);
        assert_eq!(
            days("FREQ=WEEKLY;COUNT=5", first),
            ["03-02 09:00", "03-09 09:00", "03-16 09:00", "03-23 09:00", "03-30 09:00"]
        );
        assert_eq!(
            days("FREQ=WEEKLY;INTERVAL=2;UNTIL=20260330", first),
            ["03-02 09:00", "03-16 09:00", "03-30 09:00"],
            "the last date belongs to it"
        );
        assert_eq!(
            days("FREQ=WEEKLY;BYDAY=MO,TH;COUNT=3", first),
            ["03-02 09:00", "03-05 09:00", "03-09 09:00"]
        );
        let end = date(2026, 1, 31).at(9, 0, 0, 0);
        assert_eq!(
            days("FREQ=MONTHLY;COUNT=3", end),
            ["01-31 09:00", "03-31 09:00", "05-31 09:00"],
            "months without such a day are left out"
        );
    }

    #[test]
    fn what_visits_do_not_repeat_by_is_refused() {
        let first = date(2026, 3, 2).at(9, 0, 0, 0);
        for rule in [
            "",
            "daily",
            "FREQ=DAILY;COUNT=3",
            "FREQ=WEEKLY",
            "FREQ=WEEKLY;COUNT=3;UNTIL=20261231",
            "FREQ=WEEKLY;COUNT=1",
            "FREQ=WEEKLY;COUNT=53",
            "FREQ=WEEKLY;INTERVAL=0;COUNT=3",
            "FREQ=WEEKLY;COUNT=3;COUNT=4",
            "FREQ=WEEKLY;BYDAY=2MO;COUNT=3",
            "FREQ=MONTHLY;BYDAY=MO;COUNT=3",
            "FREQ=WEEKLY;UNTIL=soon",
            "FREQ=WEEKLY;UNTIL=20260303",
            "FREQ=WEEKLY;UNTIL=20300101",
            "FREQ=WEEKLY;BYDAY=TU;COUNT=3",
            "FREQ=WEEKLY;COUNT=3\nRRULE:FREQ=DAILY",
        ] {
            let refused = starts(rule, first).unwrap_err();
            assert_eq!(refused.field, FIELD, "{rule}");
        }
    }
}
