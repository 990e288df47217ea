use std::{collections::BTreeMap, fmt, str::FromStr};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{FieldError, Fields};

/// Minutes since local midnight, `00:00` to `24:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WallMinute(u16);

/// The text is not a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a time of day HH:MM, 00:00 to 24:00")]
pub struct WallMinuteError;

impl WallMinute {
    /// Minutes since midnight.
    #[must_use]
    pub const fn minutes(self) -> u16 {
        self.0
    }

    /// The minute `minutes` after midnight; `None` past 24:00.
    #[must_use]
    pub const fn new(minutes: u16) -> Option<Self> {
        if minutes <= 24 * 60 { Some(Self(minutes)) } else { None }
    }
}

impl fmt::Display for WallMinute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for WallMinute {
    type Err = WallMinuteError;

    fn from_str(text: &str) -> Result<Self, WallMinuteError> {
        let two = |digits: &str| match digits.len() {
            2 if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse::<u16>().ok(),
            _ => None,
        };
        let (hours, minutes) = text.split_once(':').ok_or(WallMinuteError)?;
        match (two(hours), two(minutes)) {
            (Some(h), Some(m)) if m < 60 => Self::new(h * 60 + m).ok_or(WallMinuteError),
            _ => Err(WallMinuteError),
        }
    }
}

impl TryFrom<String> for WallMinute {
    type Error = WallMinuteError;

    fn try_from(text: String) -> Result<Self, WallMinuteError> {
        text.parse()
    }
}

impl From<WallMinute> for String {
    fn from(minute: WallMinute) -> Self {
        minute.to_string()
    }
}

/// Open from `start` until `end` on the wall clock of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// First minute open.
    pub start: WallMinute,
    /// First minute closed again; `24:00` is the end of the day.
    pub end: WallMinute,
}

/// A window that recurs every week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayWindow {
    /// Day of the week, 0 = Monday to 6 = Sunday.
    pub day: u8,
    /// When on that day.
    #[serde(flatten)]
    pub window: Window,
}

/// Wall-clock opening of one staff member. Windows of a day may touch or overlap: they count as one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// Windows of every week.
    pub weekly: Vec<DayWindow>,
    /// Windows of single dates, in place of the weekly ones; none means closed.
    #[serde(default)]
    pub overrides: BTreeMap<Date, Vec<Window>>,
}

const MAX_WINDOWS: usize = 70;
const MAX_OVERRIDES: usize = 366;

impl Hours {
    /// What a new staff member works until somebody says otherwise: Monday to Friday, 9 to 5.
    #[must_use]
    pub fn office() -> Self {
        let window = Window { start: WallMinute(9 * 60), end: WallMinute(17 * 60) };
        Self {
            weekly: (0..5).map(|day| DayWindow { day, window }).collect(),
            overrides: BTreeMap::new(),
        }
    }

    /// The windows of a date, as written: not sorted, not merged.
    pub fn on(&self, date: Date, weekday: u8) -> impl Iterator<Item = Window> + '_ {
        let single = self.overrides.get(&date);
        let weekly = self.weekly.iter().filter(move |w| single.is_none() && w.day == weekday);
        single.into_iter().flatten().copied().chain(weekly.map(|w| w.window))
    }

    /// # Errors
    /// Every window that breaks a rule, by its place in the request.
    pub fn validate(&self) -> Result<(), Vec<FieldError>> {
        let mut fields = Fields::default();
        fields.check(
            self.weekly.len() <= MAX_WINDOWS,
            "weekly",
            format!("must have at most {MAX_WINDOWS} windows"),
        );
        for (i, day) in self.weekly.iter().enumerate() {
            fields.check(
                day.day <= 6,
                format!("weekly[{i}].day"),
                "must be 0 (Monday) to 6 (Sunday)",
            );
            check_window(&mut fields, &format!("weekly[{i}]"), day.window);
        }
        fields.check(
            self.overrides.len() <= MAX_OVERRIDES,
            "overrides",
            format!("must have at most {MAX_OVERRIDES} dates"),
        );
        for (i, (_, windows)) in self.overrides.iter().enumerate() {
            let at = format!("overrides[{i}].windows");
            fields.check(windows.len() <= 10, at.as_str(), "must have at most 10 windows");
            for (j, window) in windows.iter().enumerate() {
                check_window(&mut fields, &format!("{at}[{j}]"), *window);
            }
        }
        fields.done()
    }
}

fn check_window(fields: &mut Fields, at: &str, window: Window) {
    fields.check(window.start < window.end, format!("{at}.end"), "must come after start");
}
